"""Whatever stages do, however late, no request ever gets another's data; and these tests notice when one does."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

from deployments.ingress.request import Priority
from deployments.ingress.scheduling.admission import Admission
from deployments.ingress.scheduling.pipeline import WindowDone
from deployments.ingress.scheduling.slots import Lease
from deployments.ingress.telemetry.statistics import Statistics
from deployments.shared.contracts import Area, SpooledBlob
from deployments.shared.errors import AmanuensisError, DeadlineExceededError, StageLostError
from deployments.shared.memory.handoff import drop
from deployments.shared.memory.slab import Slab
from deployments.shared.memory.spool import write_upload
from tests.support import pipelines, virtual_time
from tests.support.hostile_stages import LAYOUT, REST, SHAPE, Fate, HostileStages, mark
from tests.support.pipelines import make_pipeline, make_request, make_work

REQUESTS = 250
SEEDS = range(6)
RUSH_S = 12.0
BUDGET_S = 0.2
QUIET_S = 30.0


class Rush:
    """Hundreds of requests, cancelled at any moment, over stages that fail in every way."""

    def __init__(self, seed: int, directory: Path) -> None:
        self._chance = random.Random(seed)
        self.slab = Slab.create(directory / f"slab-{seed}", LAYOUT)
        self.spool = directory / f"spool-{seed}"
        self.spool.mkdir()
        self.stages = HostileStages(self._chance)
        self.statistics = Statistics()
        self.admission = Admission(LAYOUT.slots, 12, self.slab, self.statistics.queue, ageing_s=2.0)
        self.outcomes: Counter[str] = Counter()
        self.rests = 0
        self._pipeline = make_pipeline(
            self.stages,
            self.admission,
            self.statistics,
            [BUDGET_S] * 3,
            max_windows_in_flight=3,
            slab_path=str(self.slab.path),
        )

    async def run(self) -> None:
        tasks = [asyncio.create_task(self._client(number)) for number in range(1, REQUESTS + 1)]
        for task in self._chance.sample(tasks, REQUESTS // 5):
            asyncio.get_running_loop().call_later(self._chance.uniform(0, RUSH_S), task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if result is not None and not isinstance(result, asyncio.CancelledError):
                raise result
        await asyncio.sleep(QUIET_S)
        await asyncio.gather(*self.stages.strays, return_exceptions=True)
        await asyncio.sleep(QUIET_S)

    async def calm_client(self, number: int) -> None:
        """One request that nothing happens to."""
        self.stages.calm = True
        await self._ask(number, windows=1, priority=Priority.NORMAL, seconds=60)

    @property
    def retries(self) -> int:
        return self._pipeline.graph.retries.spent

    @property
    def stages_active(self) -> int:
        stages = (self.statistics.mel, self.statistics.encoder, self.statistics.decoder)
        return sum(stage.active for stage in stages)

    async def _client(self, number: int) -> None:
        await asyncio.sleep(self._chance.uniform(0, RUSH_S))
        try:
            await self._ask(
                number,
                windows=self._chance.choice((0, 1, 1, 1, 2, 6)),
                priority=self._chance.choice(list(Priority)),
                seconds=self._chance.choice((0.3, 2, 20)),
            )
        except AmanuensisError as error:
            self.outcomes[error.code] += 1
        else:
            self.outcomes["answered"] += 1

    async def _ask(self, number: int, *, windows: int, priority: Priority, seconds: float) -> None:
        request = make_request(str(number), priority=priority, seconds=seconds)
        upload = SpooledBlob(str(write_upload(self.spool, b"RIFF")))
        self.stages.windows[request.id] = windows
        try:
            with self.admission.enter(priority, request.time_limit.deadline()) as entry:
                await asyncio.sleep(self._chance.uniform(0, 0.1))
                async with aclosing(
                    pipelines.run(self._pipeline, entry, request, make_work(upload, detect=True))
                ) as events:
                    async for event in events:
                        if isinstance(event, WindowDone):
                            self._check(request.id, event)
        finally:
            drop(upload)

    def _check(self, request_id: str, event: WindowDone) -> None:
        number = mark(request_id, event.window.index)
        expected = f"{number:g}"
        self.rests += event.transcript.text == f"{number:g} {number + REST:g}"
        if event.transcript.text not in {expected, f"{number:g} {number + REST:g}"}:
            self.stages.violations.append(f"{expected} was answered with {event.transcript.text}")


def rush(seed: int, directory: Path) -> Rush:
    async def scenario() -> Rush:
        made = Rush(seed, directory)
        await made.run()
        return made

    return virtual_time.run(scenario())


@pytest.mark.parametrize("seed", SEEDS)
def test_every_answer_holds_its_own_data_and_every_slot_and_file_is_given_back(seed: int, tmp_path: Path) -> None:
    async def scenario() -> None:
        made = Rush(seed, tmp_path)
        await made.run()
        assert made.stages.violations == []
        assert (made.admission.in_use, made.admission.waiting, made.stages_active) == (0, 0, 0)
        assert list(made.spool.iterdir()) == []
        await made.admission.drained()

        await asyncio.gather(*(made.calm_client(REQUESTS + number) for number in range(1, LAYOUT.slots + 1)))
        assert made.stages.violations == []
        assert made.admission.in_use == 0
        for slot, last in enumerate(made.stages.last_generation):
            assert made.slab.grant(slot) > last

        # A rush in which nothing happens would prove nothing.
        assert made.retries > REQUESTS / 20
        assert made.rests > 0
        assert set(made.stages.fates) == set(Fate)
        assert made.outcomes["answered"] > REQUESTS / 10
        for code in ("overloaded", "internal_error"):
            assert made.outcomes[code] > 0
        assert made.outcomes["stage_timeout"] + made.outcomes["deadline_exceeded"] > 0, "calls were given up"

    virtual_time.run(scenario())


def forget(_: Lease, call: asyncio.Task[object]) -> None:
    """Keeps no slot; retrieves the result, as the real thing does."""
    call.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


@pytest.mark.parametrize(
    ("target", "broken"),
    [
        pytest.param(f"{Lease.__module__}.Lease.attach", forget, id="a slot is free when its lease is closed"),
        pytest.param(f"{Slab.__module__}.Slab.check_generation", lambda *_: None, id="nobody looks at the generation"),
        pytest.param(f"{Slab.__module__}.Slab.is_written", lambda *_: False, id="nobody looks for the lock"),
        pytest.param(f"{Slab.__module__}._lock", lambda *_: None, id="nobody locks"),
    ],
)
def test_a_missing_protection_is_noticed(
    target: str, broken: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, broken)
    assert any(rush(seed, tmp_path).stages.violations for seed in SEEDS)


WRITER = """
import sys
from pathlib import Path
from deployments.shared.contracts import Area
from deployments.shared.errors import SlotViolationError
from deployments.shared.memory.slab import Slab

slab = Slab.attach(Path(sys.argv[1]))
print("attached", flush=True)
sys.stdin.readline()
try:
    with slab.writing(0, int(sys.argv[2]), Area.LOG_MEL, (4, 8)) as array:
        array[:2] = 666
        print("half", flush=True)
        sys.stdin.readline()
        array[2:] = 666
except SlotViolationError:
    print("refused", flush=True)
else:
    print("written", flush=True)
"""


class Writer:
    """A stage in a process of its own, driven line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)


@contextmanager
def writer(slab: Slab, generation: int) -> Iterator[Writer]:
    command = [sys.executable, "-c", WRITER, str(slab.path), str(generation)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            child = Writer(process)
            assert child.says() == "attached"
            yield child
        finally:
            process.kill()


async def lose_the_call(lease: Lease) -> None:
    """The stage's call ends, because its replica seems to be dead; the request is given up."""

    async def call() -> None:
        raise StageLostError("the replica does not answer")

    task = asyncio.create_task(call())
    lease.attach(task)
    await asyncio.wait((task,))
    lease.close()


def single_slot(tmp_path: Path) -> tuple[Slab, Admission]:
    slab = Slab.create(tmp_path / "slab", LAYOUT)
    return slab, Admission(1, 10, slab, Statistics().queue, ageing_s=10)


async def next_owner(admission: Admission, seconds: float) -> Lease:
    return await admission.next_slot(Priority.NORMAL, time.monotonic() + seconds)


@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL])
def test_a_slot_waits_for_a_process_that_was_taken_for_dead_in_the_middle_of_a_write(
    end: signal.Signals, tmp_path: Path
) -> None:
    async def scenario() -> None:
        slab, admission = single_slot(tmp_path)
        lease = await next_owner(admission, 10)
        with writer(slab, lease.generation) as child:
            child.go_on()
            assert child.says() == "half"
            child.stop()
            await lose_the_call(lease)
            with pytest.raises(DeadlineExceededError):
                await next_owner(admission, 0.3)
            child.go_on()
            child.process.send_signal(end)
            after = await next_owner(admission, 10)
            array = slab.view(0, after.generation, Area.LOG_MEL, SHAPE)
            array[:] = 1
            assert child.says() == ("written" if end is signal.SIGCONT else "")
            assert (array == 1).all()
        after.close()
        assert admission.in_use == 0

    asyncio.run(scenario())


def test_a_process_that_wakes_up_too_late_to_begin_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        slab, admission = single_slot(tmp_path)
        lease = await next_owner(admission, 10)
        with writer(slab, lease.generation) as child:
            child.stop()
            await lose_the_call(lease)
            after = await next_owner(admission, 0.3)
            array = slab.view(0, after.generation, Area.LOG_MEL, SHAPE)
            array[:] = 1
            child.go_on()
            child.process.send_signal(signal.SIGCONT)
            assert child.says() == "refused"
            assert (array == 1).all()

    asyncio.run(scenario())
