"""What the throughput benchmark found, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from loadtests.benchmarks.parts.measurements import Measurements
from loadtests.benchmarks.parts.spread import ratio_spread, spread
from loadtests.common.clips import Clip

SHOWN_MS = 0.01
PIPELINED, SEQUENTIAL, NULL = "pipelined", "sequential", "null"


def write_report(
    found: Mapping[str, Measurements], against: Mapping[str, Measurements], corpus: Sequence[Clip], conditions: str
) -> str:
    """Return the whole report.

    Args:
        found: contender -> what this checkout and the peers did.
        against: contender -> what the other checkout did; empty where there is none.
        conditions: how it was measured, in one sentence.
    """
    lengths = [clip.seconds for clip in corpus]
    rows = {**found, **{f"{name}, other checkout": theirs for name, theirs in against.items()}}
    lines = [
        f"{len(corpus)} clips of {min(lengths):.1f}-{max(lengths):.1f} s (mean {statistics.mean(lengths):.1f} s), "
        f"{conditions}; median (lowest-highest round)",
        "",
        "| | requests/s | x real time | p50 ms | p99 ms | CPU ms/request | encoder busy | WER % |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_row(name, measured, corpus) for name, measured in rows.items()),
        "",
        *(_comparison(found, against) if against else []),
        *_ratios(found),
        f"- transcripts of pipelined and sequential identical: {_identical(found[PIPELINED], found[SEQUENTIAL])}",
        "",
        "CPU milliseconds per request, by process:",
        "",
        *(f"- {name}: {_cpu(measured)}" for name, measured in rows.items()),
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, measured: Measurements, corpus: Sequence[Clip]) -> str:
    busy = measured.encoder_busy_share
    cells = [
        name,
        spread(measured.requests_per_s, 1),
        spread(measured.real_time_factors, 0),
        spread(measured.p50_ms, 0),
        spread(measured.p99_ms, 0),
        f"{measured.service_cpu_ms:.1f}",
        "-" if busy is None else f"{100 * busy:.0f}%",
        f"{100 * measured.error_rate(corpus):.1f}" if not name.startswith(NULL) else "-",
    ]
    return "| " + " | ".join(cells) + " |"


def _comparison(found: Mapping[str, Measurements], against: Mapping[str, Measurements]) -> Iterator[str]:
    """Write this checkout over the other, round by round."""
    yield "| this checkout over the other | requests/s | p50 | p99 | CPU per request | transcripts identical |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, theirs in against.items():
        ours = found[name]
        cells = [
            name,
            ratio_spread(ours.requests_per_s, theirs.requests_per_s, 3),
            ratio_spread(ours.p50_ms, theirs.p50_ms, 3),
            ratio_spread(ours.p99_ms, theirs.p99_ms, 3),
            f"{ours.service_cpu_ms / theirs.service_cpu_ms:.3f}x",
            _identical(ours, theirs),
        ]
        yield "| " + " | ".join(cells) + " |"
    yield ""


def _ratios(found: Mapping[str, Measurements]) -> list[str]:
    ours = found[PIPELINED].requests_per_s
    others = [name for name in found if name not in {PIPELINED, NULL}]
    return [f"- pipelined / {name}: {ratio_spread(ours, found[name].requests_per_s, 1)}" for name in others]


def _identical(one: Measurements, other: Measurements) -> str:
    different = one.differs_from(other)
    return "yes" if not different else f"NO: {', '.join(different)}"


def _cpu(measured: Measurements) -> str:
    return ", ".join(f"{role} {used:.2f}" for role, used in measured.cpu_ms.items() if used >= SHOWN_MS)
