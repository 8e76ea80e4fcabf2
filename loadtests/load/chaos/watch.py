"""Watching what the service says of itself while it is harmed, over all lives of its ingress, and what is left."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

POLL_S = 0.5
TIMEOUT_S = 5.0
STAGES = ("stage1_load_mel", "stage2_encoder", "stage3_decoder_align")

Json = dict[str, Any]


@dataclass
class Lives:
    """The sum of statistics that begin anew with each ingress process.

    A life ends where a counter that only grows is smaller than before. Its last poll counts, so what happened between
    that and the death of the process, half a second at most, is not in the sum.

    Attributes:
        count: how many lives began so far.
    """

    count: int = 0
    _ended: Counter[str] = field(default_factory=Counter)
    _current: Counter[str] = field(default_factory=Counter)

    def saw(self, stats: Json) -> None:
        """Take in the newest document of ``/stats``."""
        counters = counters_of(stats)
        if self.count == 0 or any(counters[name] < value for name, value in self._current.items()):
            self._ended += self._current
            self.count += 1
        self._current = counters

    @property
    def total(self) -> Counter[str]:
        return self._ended + self._current


def counters_of(stats: Json) -> Counter[str]:
    """Return the counters of one life that only grow."""
    stages = [stats["stages"][name] for name in STAGES]
    return Counter(
        {
            "accepted": stats["pipeline"]["queue"]["total_enqueued"],
            "answered": stats["requests"]["answered"],
            "calls": sum(stage["total_processed"] for stage in stages),
            "calls retried inside": sum(stage["total_retries"] for stage in stages),
            "calls failed": sum(stage["total_errors"] for stage in stages),
            "calls timed out": sum(stage["total_timeouts"] for stage in stages),
            **{f"error {code}": count for code, count in stats["requests"]["failed"].items()},
        }
    )


async def poll(session: aiohttp.ClientSession, url: str, lives: Lives) -> None:
    """Watch until this is cancelled."""
    while True:
        with suppress(aiohttp.ClientError, TimeoutError, ValueError, KeyError):
            lives.saw(await stats_of(session, url))
        await asyncio.sleep(POLL_S)


async def stats_of(session: aiohttp.ClientSession, url: str) -> Json:
    """Return ``/stats`` as it is now."""
    async with asyncio.timeout(TIMEOUT_S), session.get(f"{url}/stats") as answer:
        answer.raise_for_status()
        document: Json = await answer.json()
        return document


def held_by(stats: Json) -> dict[str, int]:
    """Count what requests hold: nothing when all have ended."""
    pipeline = stats["pipeline"]
    return {
        "slots in use": pipeline["buffers"]["in_use"],
        "requests waiting": pipeline["queue"]["current_size"],
        "responses pending": pipeline["pipeline"]["pending_responses"],
        "stage calls under way": sum(stats["stages"][name]["input_queue_size"] for name in STAGES),
    }


def files_left(directory: Path) -> int:
    """Count the files in shared memory that belong to no request and to no living ingress.

    One directory with a lock and a slab is what a running service has.
    """
    homes = list(directory.iterdir())
    files = [path for home in homes for path in home.iterdir()]
    spooled = [path for path in files if path.name not in {"lock", "slab"}]
    return len(spooled) + max(0, len(homes) - 1)
