"""Doing the harm, and measuring how long the service takes to get over it."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable

import aiohttp
import psutil

from loadtests.load.chaos.clients import attempt
from loadtests.load.chaos.faults import LAUNCHER, Fault, PlannedFault, plan_faults
from loadtests.load.chaos.menu import Intent
from loadtests.load.chaos.stuck import stick
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
        family: the processes of the service that runs.
    """

    def __init__(self, family: Family, url: str, probe: Intent) -> None:
        self.family = family
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
        victims = await asyncio.to_thread(self.family.of_kind, plan.process)
        if not victims:
            raise RuntimeError(f"There is no {plan.process} to {plan.action}.")
        victim, at = victims[-1], time.monotonic()
        probing = asyncio.create_task(self._recovered(at))
        if plan.action == "kill":
            kill(victim)
            until = at
        elif plan.action == "stick":
            await asyncio.to_thread(stick(victim, plan.process).wait)
            until = time.monotonic()
        else:
            suspend(victim)
            await asyncio.sleep(plan.hang_s)
            resume(victim)
            until = time.monotonic()
        recovered = await probing
        return Fault(plan.process, plan.action, at, until, recovered, await self._replaced(plan.process))

    async def kill_launcher(self, restart: Callable[[], psutil.Process]) -> None:
        """Kill the launcher, which ends the service, and start it anew as a service manager would."""
        at = time.monotonic()
        kill(self.family.launcher)
        await asyncio.to_thread(self._wait_for_the_end)
        self.family = Family(await asyncio.to_thread(restart))
        recovered = await self._recovered(at)
        fault = Fault(LAUNCHER, "kill", at, at, recovered, recovered)
        self.faults.append(fault)
        sys.stderr.write(f"{_told(fault)}\n")

    def _wait_for_the_end(self) -> None:
        until = time.monotonic() + REPLACED_S
        while self.family.members() and time.monotonic() < until:
            time.sleep(PROBE_PAUSE_S)

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
            if await asyncio.to_thread(self.family.of_kind, process):
                return time.monotonic()
            await asyncio.sleep(PROBE_PAUSE_S)
        return None


def _told(fault: Fault) -> str:
    recovered = "NOT RECOVERED" if fault.recovered is None else f"recovered after {fault.recovered - fault.at:.2f} s"
    replaced = ", NOT REPLACED" if fault.replaced is None else ""
    return f"{time.strftime('%H:%M:%S')} {fault.process} {fault.action}: {recovered}{replaced}"
