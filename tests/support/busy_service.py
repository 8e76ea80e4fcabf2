"""The real admission and pipeline over stages that take as long as real ones, with clients that follow ``Retry-After``.

All of it runs on the virtual clock. The encoder and the decoder each work on one window at a time, the most urgent one
first, as their deployments do.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from deployments.ingress.request import Priority
from deployments.ingress.scheduling.admission import Admission
from deployments.ingress.telemetry.statistics import Statistics
from deployments.ingress.time_limit import TimeLimit
from deployments.shared.contracts import (
    ArrayRef,
    BlobRef,
    DecodedWindow,
    DecodeOptions,
    EncodedWindow,
    PreparedAudio,
    SpeechOptions,
    SpooledBlob,
    Ticket,
    Window,
)
from deployments.shared.errors import AmanuensisError
from deployments.shared.urgency import UrgentFirst
from tests.support import pipelines
from tests.support.pipelines import make_pipeline, make_request, make_work
from tests.support.scripted_stages import PCM, TIMING, ScriptedStages

WINDOW_S = 28.0
AGEING_S = 10.0
BUDGET_S = 1e6
REQUEST_TIMEOUT_S = 60.0


class Server:
    """Works on one window at a time, the most urgent one first.

    Args:
        seconds: per window, on average.
        spread: of the seconds, as a share of them.
    """

    def __init__(self, seconds: float, spread: float, chance: random.Random) -> None:
        self._seconds, self._spread, self._chance = seconds, spread, chance
        self._waiting: UrgentFirst[asyncio.Future[None]] = UrgentFirst()
        self._busy = False

    @asynccontextmanager
    async def turn(self, ticket: Ticket) -> AsyncIterator[None]:
        if self._busy:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.push(turn, ticket.priority, time.monotonic())
            await turn
        self._busy = True
        try:
            await asyncio.sleep(self._seconds * self._chance.uniform(1 - self._spread, 1 + self._spread))
            yield
        finally:
            self._busy = bool(self._waiting)
            if self._busy:
                self._waiting.pop().set_result(None)


class TimedStages(ScriptedStages):
    """Uploads name their number of windows in their path.

    Args:
        encoder_s: seconds per window.
        decoder_s: seconds per window.
        mel_s: seconds per window, of the decoding of the whole file.
    """

    def __init__(self, encoder_s: float, decoder_s: float, mel_s: float, spread: float, chance: random.Random) -> None:
        super().__init__()
        self._mel_s = mel_s
        self._mel = asyncio.Semaphore(2)
        self._encoder = Server(encoder_s, spread, chance)
        self._decoder = Server(decoder_s, spread, chance)

    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        del options
        assert isinstance(upload, SpooledBlob)
        count = int(upload.path)
        async with self._mel:
            await asyncio.sleep(self._mel_s * count)
        windows = tuple(Window(index, WINDOW_S * index, WINDOW_S * (index + 1)) for index in range(count))
        return PreparedAudio(WINDOW_S * count, windows, PCM, self._array(ticket), TIMING)

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        async with self._encoder.turn(ticket):
            return await super().encode(ticket, log_mel)

    async def decode(
        self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
    ) -> DecodedWindow:
        async with self._decoder.turn(ticket):
            return await super().decode(ticket, states, window, options, pcm)


@dataclass
class Outcome:
    """How one attempt ended.

    Attributes:
        again: it came back when it was told to.
        code: ``ok``, or that of the error.
        seconds: from its beginning to its end.
        retry_after_s: what it was told.
    """

    name: str
    again: bool
    began: float
    code: str
    seconds: float
    retry_after_s: float | None = None


@dataclass
class BusyService:
    """Made inside a running loop.

    Attributes:
        outcomes: of all attempts, in the order in which they ended.
    """

    slots: int = 16
    encoder_s: float = 1.0
    decoder_s: float = 0.35
    mel_s: float = 0.04
    spread: float = 0.2
    measured_s: float | None = 1.0
    timeout_s: float = REQUEST_TIMEOUT_S
    per_audio_s: float = 1.0
    seed: int = 0
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        statistics = Statistics()
        self.admission = Admission(self.slots, 256, None, statistics.queue, ageing_s=AGEING_S)
        if self.measured_s is not None:
            self.admission.foresee(self.measured_s)
        stages = TimedStages(self.encoder_s, self.decoder_s, self.mel_s, self.spread, self.chance)
        self.pipeline = make_pipeline(stages, self.admission, statistics, [BUDGET_S] * 3)

    async def ask(
        self,
        name: str,
        *,
        windows: int = 1,
        priority: Priority = Priority.NORMAL,
        named_s: float | None = None,
        again: bool = False,
    ) -> Outcome:
        """One attempt."""
        began = time.monotonic()
        limit = TimeLimit(began, named_s or self.timeout_s, 0.0 if named_s else self.per_audio_s)
        code, retry_after_s = "ok", None
        try:
            await self._ask(windows, priority, limit)
        except AmanuensisError as error:
            code, retry_after_s = error.code, error.retry_after_s
        outcome = Outcome(name, again, began, code, time.monotonic() - began, retry_after_s)
        self.outcomes.append(outcome)
        return outcome

    async def client(self, name: str, until: float, *, windows: int = 1, priority: Priority = Priority.NORMAL) -> None:
        """Asks again as soon as it is answered, or when it was told to."""
        again = False
        while time.monotonic() < until:
            outcome = await self.ask(name, windows=windows, priority=priority, again=again)
            again = outcome.retry_after_s is not None
            await asyncio.sleep((outcome.retry_after_s or 0.0) + self.chance.uniform(0.001, 0.05))

    def codes(self, name: str = "") -> Counter[str]:
        """How often which code came to those whose name begins so."""
        return Counter(outcome.code for outcome in self.outcomes if outcome.name.startswith(name))

    def seconds(self, name: str = "") -> list[float]:
        """How long each answer took, in order."""
        return sorted(item.seconds for item in self.outcomes if item.code == "ok" and item.name.startswith(name))

    async def _ask(self, windows: int, priority: Priority, limit: TimeLimit) -> None:
        with self.admission.enter(priority, limit.deadline()) as entry:
            await asyncio.sleep(self.chance.uniform(0.01, 0.2))  # the upload
            request = make_request(priority=priority, limit=limit)
            work = make_work(SpooledBlob(str(windows)))
            async for _ in pipelines.run(self.pipeline, entry, request, work):
                pass
