"""Long work never has all the threads, and short work never keeps it out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from deployments.shared.lanes import Lanes

HIGH, NORMAL = 0, 1


class Bench:
    """Lanes whose work waits at a gate."""

    def __init__(self, threads: int) -> None:
        self.lanes = Lanes(ThreadPoolExecutor(threads), threads)
        self.gate = threading.Event()
        self.begun: list[str] = []

    def ask(self, name: str, priority: int = NORMAL, *, is_long: bool = False) -> asyncio.Task[str]:
        return asyncio.create_task(self.lanes(lambda: self._work(name), priority, is_long=is_long))

    async def until_begun(self, *names: str) -> None:
        async with asyncio.timeout(10):
            while sorted(self.begun) != sorted(names):  # noqa: ASYNC110  (threads begin it)
                await asyncio.sleep(0.001)

    def _work(self, name: str) -> str:
        self.begun.append(name)
        if name.startswith("held"):
            assert self.gate.wait(10)
        return name


def test_however_much_long_work_there_is_short_work_passes_it() -> None:
    async def scenario() -> None:
        bench = Bench(3)
        long = [bench.ask(f"held {number}", is_long=True) for number in range(6)]
        await bench.until_begun("held 0", "held 1")
        assert [await bench.ask(f"short {number}") for number in range(40)] == [f"short {n}" for n in range(40)]
        assert len(bench.begun) == 42, "no third long one was begun meanwhile"
        bench.gate.set()
        await asyncio.gather(*long)

    asyncio.run(scenario())


def test_long_work_gets_the_next_thread_however_much_short_work_waits() -> None:
    async def scenario() -> None:
        bench = Bench(2)
        held = [bench.ask("held 0"), bench.ask("held 1")]
        await bench.until_begun("held 0", "held 1")
        waiting = [bench.ask("a"), bench.ask("b"), bench.ask("c"), bench.ask("long", is_long=True)]
        await asyncio.sleep(0)
        bench.gate.set()
        await asyncio.gather(*held, *waiting)
        assert "long" in bench.begun[2:4]

    asyncio.run(scenario())


def test_the_most_urgent_work_is_begun_first() -> None:
    async def scenario() -> None:
        bench = Bench(1)
        held = bench.ask("held")
        await bench.until_begun("held")
        waiting = [bench.ask("normal"), bench.ask("high", HIGH), bench.ask("also normal")]
        await asyncio.sleep(0)
        bench.gate.set()
        await asyncio.gather(held, *waiting)
        assert bench.begun == ["held", "high", "normal", "also normal"]

    asyncio.run(scenario())


def test_one_thread_does_both_kinds() -> None:
    async def scenario() -> None:
        bench = Bench(1)
        assert list(await asyncio.gather(bench.ask("long", is_long=True), bench.ask("short"))) == ["long", "short"]

    asyncio.run(scenario())


def test_what_is_cancelled_before_it_is_begun_never_is() -> None:
    async def scenario() -> None:
        bench = Bench(1)
        held, cancelled, last = bench.ask("held"), bench.ask("cancelled"), bench.ask("last")
        await bench.until_begun("held")
        cancelled.cancel()
        await asyncio.sleep(0)
        bench.gate.set()
        await asyncio.gather(held, last)
        assert bench.begun == ["held", "last"]

    asyncio.run(scenario())


@pytest.mark.parametrize("is_long", [True, False])
def test_an_exception_is_its_caller_s_alone_and_gives_the_thread_back(is_long: bool) -> None:
    def breaks() -> Any:
        raise OSError("broken")

    async def scenario(work: Callable[[], Any]) -> None:
        bench = Bench(2)
        for _ in range(5):
            with pytest.raises(OSError, match="broken"):
                await bench.lanes(work, NORMAL, is_long=is_long)
        assert await bench.ask("fine", is_long=True) == "fine"

    asyncio.run(scenario(breaks))
