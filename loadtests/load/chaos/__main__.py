"""Kill and hang every kind of process of a service under mixed load, and account for every request.

``python -m loadtests.load.chaos --model base --speech DIR [--minutes 30] [--seed N]`` starts the service as a user
does, learns every file's text and time from it while it is calm, loads it for a while to know its latency, then goes on
loading it while processes die. Deadlines and the moments at which clients hang up are multiples of what a request takes
alone. Exit status 1 if it breaks a promise. The report, ``results/chaos.md`` unless ``--output`` says otherwise, is the
page ``docs/chaos.md``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from loadtests.common.service_process import Application, Service, started
from loadtests.load.calibration import calibrate
from loadtests.load.chaos import report
from loadtests.load.chaos.attack import Attack
from loadtests.load.chaos.clients import Done, perform
from loadtests.load.chaos.menu import CLIENTS, Menu
from loadtests.load.chaos.report import Findings, Memory
from loadtests.load.chaos.watch import Lives, files_left, held_by, poll, stats_of
from loadtests.load.processes import Family
from loadtests.load.subject import Subject, add_subject, subject_of

CALM_SHARE = 0.1
COOL_DOWN_S = 15.0
QUIET_S = 5.0
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (the service's own default)


def main() -> int:
    options = _options()
    subject = subject_of(options)
    with (
        tempfile.TemporaryDirectory(dir=SHARED_MEMORY, prefix="chaos-") as memory,
        tempfile.TemporaryDirectory() as log,
    ):
        settings = {"shared_memory_dir": memory, "failure_log_dir": log}
        with started([Application("amanuensis", "/", settings, model=subject.model)]) as service:
            try:
                findings = _run(service, options, subject, Path(memory))
            finally:
                _keep_log(service, options.output)
        findings.rest["files in shared memory after the stop"] = len(list(Path(memory).iterdir()))
    judged = report.account(findings)
    page = report.as_markdown(findings, judged)
    sys.stdout.write(page)
    options.output.write_text(page, encoding="utf-8")
    counts = json.dumps(report.as_json(findings, judged), indent=1)
    options.output.with_suffix(".json").write_text(counts + "\n", encoding="utf-8")
    return 1 if report.violations(findings, judged) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=30.0, help="length of the load, a tenth of it calm")
    parser.add_argument("--seed", type=int, default=0, help="of the faults and of what clients do")
    parser.add_argument("--output", type=Path, default=Path("results/chaos.md"), help="the report; counts in .json")
    add_subject(parser)
    return parser.parse_args()


def _keep_log(service: Service, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(service.log, output.with_suffix(".log"))


def _run(service: Service, options: argparse.Namespace, subject: Subject, directory: Path) -> Findings:
    speech = subject.speech
    calibration = calibrate(service.url, speech, speech.files)
    rng = random.Random(options.seed)  # noqa: S311  (no secret)
    menu = Menu(random.Random(rng.random()), speech.files, calibration)  # noqa: S311
    return asyncio.run(_harm(service, options, menu, rng, directory))


async def _harm(
    service: Service, options: argparse.Namespace, menu: Menu, rng: random.Random, directory: Path
) -> Findings:
    family, lives = Family(service.process), Lives()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        memory_before = await asyncio.to_thread(family.memory_bytes)
        watching = asyncio.create_task(poll(session, service.url, lives))
        calm_s = 60 * options.minutes * CALM_SHARE
        calm = await _load(session, service.url, menu, calm_s)
        attack = Attack(family, service.url, menu.probe())
        faulty_s = 60 * options.minutes - calm_s
        attacking = asyncio.create_task(attack.run(rng, time.monotonic() + faulty_s))
        faulty = await _load(session, service.url, menu, faulty_s, attacking)
        memory_end = await asyncio.to_thread(family.memory_bytes)
        restarting = asyncio.create_task(attack.kill_launcher(service.restart))
        faulty += await _load(session, service.url, menu, 0.0, restarting)
        family = attack.family
        rest = await _cool_down(session, service.url, menu.longest_deadline_s + COOL_DOWN_S)
        watching.cancel()
    await asyncio.sleep(QUIET_S)  # all connections are closed: HAProxies that were replaced may leave now
    rest["spooled files and stale directories"] = files_left(directory)
    rest["processes that map a slab of a dead ingress"] = await asyncio.to_thread(family.stale_mappings, directory)
    return Findings(
        seed=options.seed,
        calm_s=calm_s,
        faulty_s=faulty_s,
        clients=CLIENTS,
        calibration=menu.calibration,
        calm=calm,
        faulty=faulty,
        faults=attack.faults,
        inside=lives.total,
        lives=lives.count,
        rest=rest,
        processes=await asyncio.to_thread(family.kinds),
        memory=Memory(memory_before, memory_end, await asyncio.to_thread(family.memory_bytes)),
    )


async def _load(
    session: aiohttp.ClientSession, url: str, menu: Menu, seconds: float, attacking: asyncio.Task[None] | None = None
) -> list[Done]:
    """Return what all clients did in ``seconds``, and until the fault that was under way then was over."""
    until = time.monotonic() + seconds
    done: list[Done] = []

    async def client() -> None:
        while time.monotonic() < until or (attacking is not None and not attacking.done()):
            done.append(await perform(session, url, menu))

    await asyncio.gather(*(client() for _ in range(CLIENTS)), *([attacking] if attacking else []))
    return done


async def _cool_down(session: aiohttp.ClientSession, url: str, seconds: float) -> dict[str, int]:
    """Return what requests still hold once all should have ended."""
    until = time.monotonic() + seconds
    held = held_by(await stats_of(session, url))
    while any(held.values()) and time.monotonic() < until:
        await asyncio.sleep(1)
        held = held_by(await stats_of(session, url))
    return held


if __name__ == "__main__":
    sys.exit(main())
