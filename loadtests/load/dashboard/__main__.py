"""Draw the dashboard as it looks under load.

``python -m loadtests.load.dashboard [--output docs/dashboard.png]`` takes the service through calm, a burst, overload
and the death of its Decoder while Prometheus watches, then draws the panels of ``configs/grafana/dashboard.json`` from
Prometheus' answers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from loadtests.common.clips import clips
from loadtests.common.closed_loop import run_closed_loop
from loadtests.common.service_process import Application, Service, started
from loadtests.load.dashboard.panels import SCRAPE_S, Told, draw
from loadtests.load.dashboard.prometheus import ray_session, watching
from loadtests.load.open_loop import offer
from loadtests.load.overload import every_priority
from loadtests.load.processes import Family, kill

SETTLE_S = 15.0
CLIENTS = 16
DEADLINE_S = 5.0


@dataclass(frozen=True)
class Chapter:
    """Some time under a steady load, as a share of what the service can do.

    Attributes:
        kills: the process that dies at its beginning.
    """

    name: str
    load: float
    seconds: float
    kills: str | None = None


STORY = (
    Chapter("calm", 0.25, 45),
    Chapter("burst", 0.9, 45),
    Chapter("calm", 0.25, 30),
    Chapter("overload", 2.0, 45),
    Chapter("calm", 0.25, 40),
    Chapter("Decoder killed", 0.25, 60, kills="Decoder"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=Path("docs/dashboard.png"))
    output: Path = parser.parse_args().output
    with (
        tempfile.TemporaryDirectory() as failures,
        started([Application("amanuensis", "/", {"failure_log_dir": failures})]) as service,
        watching(service.url, ray_session(service.process), scrape_interval_s=SCRAPE_S) as prometheus,
    ):
        told = tell_story(service)
        draw(prometheus, told, output)


def tell_story(service: Service) -> Told:
    """Play the story."""
    run_closed_loop(service.url, clips(), clients=CLIENTS, seconds=3)
    capacity = run_closed_loop(service.url, clips(), clients=CLIENTS, seconds=10).requests_per_s
    time.sleep(SETTLE_S)
    family, chapters = Family(service.process), []
    mix = list(every_priority(service.url, clips(), DEADLINE_S))
    for chapter in STORY:
        chapters.append((time.time(), f"{chapter.name}, {chapter.load * capacity:.0f}/s"))
        if chapter.kills is not None:
            kill(family.of_kind(chapter.kills)[0])
        offer(service.url, mix, rate=chapter.load * capacity, seconds=chapter.seconds)
    time.sleep(SETTLE_S)
    return Told(chapters, time.time(), capacity)


if __name__ == "__main__":
    main()
