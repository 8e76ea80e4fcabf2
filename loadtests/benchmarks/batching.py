"""Measure the Decoder's own batches beside those of Serve, in the same graph under full load.

``amanuensis bench batching DIR``: human voices of a corpus through Whisper ``base``. The service as it is takes turns
with the same graph whose Decoder leaves its batches to ``@serve.batch``, once for each of several times that a batch
may wait for company. Each has the machine to itself, and every round begins with another one. Compare the rows of one
run only.

DIR is what ``amanuensis bench throughput`` takes.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import requests

from deployments.shared.model.finding import resolve
from loadtests.benchmarks.parts.batching_variants import OWN, VARIANTS, application, label
from loadtests.benchmarks.parts.clip_sets import read_clips_or_exit
from loadtests.benchmarks.parts.measurements import Measurements, measure_load
from loadtests.benchmarks.parts.output import publish, say
from loadtests.benchmarks.parts.spread import ratio_spread, spread
from loadtests.common.clips import Clip
from loadtests.common.closed_loop import run_closed_loop
from loadtests.common.machine import describe_commit, describe_machine
from loadtests.common.paths import ROOT
from loadtests.common.service_process import Service, started

CLIENTS: Final = 16
WARM_UP_S: Final = 3.0

COLUMNS: Final = ("requests/s", "p50 ms", "p99 ms", "windows per batch", "CPU ms/request")

T = TypeVar("T")


@dataclass
class Measured:
    """The figures of one variant.

    Attributes:
        load: what its clients met.
        batch_sizes: windows per batch, a value per round.
    """

    load: Measurements = field(default_factory=Measurements)
    batch_sizes: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class BatchCount:
    """What a Decoder has done so far. A window counts the largest of the batches that its steps were in."""

    windows: float
    batches: float

    @classmethod
    def read(cls, url: str) -> BatchCount:
        """Ask a running service."""
        stage: dict[str, Any] = requests.get(f"{url}/stats/stages", timeout=5).json()["stage3_decoder_align"]
        windows, mean = stage["total_processed"], stage["batch_size_avg"]
        return cls(windows, windows / mean if mean else 0.0)

    def mean_since(self, before: BatchCount) -> float:
        """Return the windows per batch since an earlier reading."""
        return (self.windows - before.windows) / (self.batches - before.batches)


def main() -> None:
    options = _options()
    sent, model = read_clips_or_exit(options.directory, options.file), resolve(options.model)
    found: dict[str, Measured] = defaultdict(Measured)
    for number in range(options.rounds):
        for name in rotated(list(VARIANTS), number):
            say(f"round {number + 1}: {name}")
            with started([application(name, str(model))]) as service:
                _measure(found[name], service, sent.clips, options.seconds)
    conditions = (
        f"{sent.description}, model `{model.name}`, {CLIENTS} clients, {options.rounds} rounds of at least "
        f"{options.seconds:g} s; {describe_machine()}; {describe_commit(ROOT)}"
    )
    publish(write_report({name: found[name] for name in VARIANTS}, conditions), None)


def rotated(items: Sequence[T], places: int) -> list[T]:
    """Return the items in their order, beginning with another one for each number of places."""
    first = places % len(items)
    return [*items[first:], *items[:first]]


def write_report(found: Mapping[str, Measured], conditions: str) -> str:
    """Return the whole report: every variant, and the service as it is over each other one, round by round."""
    lines = [
        f"{conditions}; median (lowest-highest round)",
        "",
        f"| batches | {' | '.join(COLUMNS)} |",
        f"| --- {'| --- ' * len(COLUMNS)}|",
        *(_row(name, measured) for name, measured in found.items()),
        "",
        f"| `NaturalBatcher` over | {' | '.join(COLUMNS)} | transcripts identical |",
        f"| --- {'| --- ' * len(COLUMNS)}| --- |",
        *_ratios(found),
    ]
    return "\n".join(lines) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, prog="amanuensis bench batching", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, nargs="?", help="the corpus")
    parser.add_argument(
        "--file", action="append", default=[], help="only recordings that match; may be repeated; else librispeech/*"
    )
    parser.add_argument("--model", default="base", help="what the service loads")
    parser.add_argument("--rounds", type=int, default=len(VARIANTS), help="turns each variant gets")
    parser.add_argument("--seconds", type=float, default=15.0, help="least length of a turn")
    return parser.parse_args()


def _measure(measured: Measured, service: Service, clips: Sequence[Clip], seconds: float) -> None:
    run_closed_loop(service.url, clips, clients=CLIENTS, seconds=WARM_UP_S)
    before = BatchCount.read(service.url)
    measure_load(measured.load, service.url, service.process, clips, clients=CLIENTS, seconds=seconds)
    measured.batch_sizes.append(BatchCount.read(service.url).mean_since(before))


def _row(name: str, measured: Measured) -> str:
    load = measured.load
    cells = [
        label(name),
        spread(load.requests_per_s, 2),
        spread(load.p50_ms, 0),
        spread(load.p99_ms, 0),
        spread(measured.batch_sizes, 2),
        f"{load.service_cpu_ms:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _ratios(found: Mapping[str, Measured]) -> Iterator[str]:
    own = found[OWN]
    for name, other in found.items():
        if name == OWN:
            continue
        different = own.load.differs_from(other.load)
        cells = [
            label(name),
            ratio_spread(own.load.requests_per_s, other.load.requests_per_s, 3),
            ratio_spread(own.load.p50_ms, other.load.p50_ms, 3),
            ratio_spread(own.load.p99_ms, other.load.p99_ms, 3),
            ratio_spread(own.batch_sizes, other.batch_sizes, 2),
            f"{own.load.service_cpu_ms / other.load.service_cpu_ms:.3f}x",
            f"NO: {', '.join(different)}" if different else "yes",
        ]
        yield "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
