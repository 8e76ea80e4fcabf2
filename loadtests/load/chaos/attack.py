"""Doing the harm, and measuring how long the service takes to get over it."""

from __future__ import annotations

import asyncio
import random
import sys
import time

import aiohttp

from loadtests.load.chaos.clients import attempt
from loadtests.load.chaos.faults import Fault, PlannedFault, plan_faults
from loadtests.load.chaos.menu import Intent
from loadtests.load.processes import Family, kill, resume, suspend

PROBE_S = 60.0
PROBE_PAUSE_S = 0.1
REPLACED_S = 60.0


class Attack:
    """A series of faults, one after the other.

    Args:
        probe: a short request whose success is recovery.

    Attributes:
        faults: those that are over.
    """

    def __init__(self, family: Family, url: str, probe: Intent) -> None:
        self._family = family
        self._url = url
        self._probe = probe
        self.faults: list[Fault] = []

    async def run(self, rng: random.Random, until: float) -> None:
        """Do harm until the monotonic clock says ``until``; a fault that has begun is seen through."""
        for plan in plan_faults(rng):
            if time.monotonic() + plan.gap_s >= until:
                return
            await asyncio.sleep(plan.gap_s)
            fault = await self._carry_out(plan)
            self.faults.append(fault)
            sys.stderr.write(f"{_told(fault)}\n")

    async def _carry_out(self, plan: PlannedFault) -> Fault:
        victims = await asyncio.to_thread(self._family.of_kind, plan.process)
        if not victims:
            raise RuntimeError(f"There is no {plan.process} to {plan.action}.")
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
        """Return when a probe first succeeded, each on a connection of its own; None if none did."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            while time.monotonic() < at + PROBE_S:
                probed = await attempt(session, self._url, self._probe)
                if probed.reply.outcome == "right":
                    return probed.ended
                await asyncio.sleep(PROBE_PAUSE_S)
        return None

    async def _replaced(self, process: str) -> float | None:
        """Return when a process of the kind was seen again; None if none was."""
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
