"""Does the harm, and measures how long the service takes to get over it."""

from __future__ import annotations

import asyncio
import random
import sys
import time

import aiohttp

from loadtests.load.chaos.clients import Ask, send
from loadtests.load.chaos.faults import Fault, Plan, plans
from loadtests.load.chaos.processes import Family, kill, resume, suspend

PROBE_S = 60.0
PROBE_PAUSE_S = 0.1
REPLACED_S = 60.0


class Attack:
    """One fault after the other.

    Args:
        probe: a short request whose success is recovery.

    Attributes:
        faults: those so far; the latest may be open.
    """

    def __init__(self, family: Family, url: str, probe: Ask) -> None:
        self._family = family
        self._url = url
        self._probe = probe
        self.faults: list[Fault] = []

    async def run(self, rng: random.Random, until: float) -> None:
        """Carries out plans until the monotonic clock says ``until``; a fault that has begun is seen through."""
        for plan in plans(rng):
            if time.monotonic() + plan.gap_s >= until:
                return
            await asyncio.sleep(plan.gap_s)
            fault = await self._carry_out(plan)
            self.faults.append(fault)
            sys.stderr.write(f"{_told(fault)}\n")

    async def _carry_out(self, plan: Plan) -> Fault:
        victims = await asyncio.to_thread(self._family.of_kind, plan.process)
        if not victims:
            raise RuntimeError(f"there is no {plan.process} to {plan.action}")
        victim, at = victims[-1], time.monotonic()
        probing = asyncio.create_task(self._recovered(at))
        if plan.action == "kill":
            kill(victim)
            until = at
        else:
            suspend(victim)
            await asyncio.sleep(plan.hang_s)
            resume(victim)
            until = time.monotonic()
        recovered = await probing
        return Fault(plan.process, plan.action, at, until, recovered, await self._replaced(plan.process))

    async def _recovered(self, at: float) -> float | None:
        """When a probe first succeeded, each on a connection of its own."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            while time.monotonic() < at + PROBE_S:
                attempt = await send(session, self._url, self._probe)
                if attempt.result == "right text":
                    return attempt.ended
                await asyncio.sleep(PROBE_PAUSE_S)
        return None

    async def _replaced(self, process: str) -> float | None:
        until = time.monotonic() + REPLACED_S
        while time.monotonic() < until:
            if await asyncio.to_thread(self._family.of_kind, process):
                return time.monotonic()
            await asyncio.sleep(PROBE_PAUSE_S)
        return None


def _told(fault: Fault) -> str:
    recovered = "NOT RECOVERED" if fault.recovered is None else f"recovered after {fault.recovered - fault.at:.2f} s"
    replaced = ", NOT REPLACED" if fault.replaced is None else ""
    return f"{time.strftime('%H:%M:%S')} {fault.process} {fault.action}: {recovered}{replaced}"
