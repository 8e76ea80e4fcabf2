"""What the throughput benchmark found, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from loadtests.benchmarks.accuracy.bootstrap import Estimate
from loadtests.benchmarks.parts.clip_sets import ClipSet
from loadtests.benchmarks.parts.measurements import Measurements
from loadtests.benchmarks.parts.spread import ratio_spread, spread
from loadtests.benchmarks.parts.tables import percent

SHOWN_MS = 0.01
PIPELINED, FULL_CONTEXT, SEQUENTIAL, NULL = "pipelined", "full-context", "sequential", "null"
MAIN_PEER = "faster-whisper"
COLUMNS = ("requests/s", "x real time", "p50 ms", "p99 ms", "CPU ms/request", "MiB", "encoder busy", "WER %")

Found = Mapping[str, Measurements]


def write_report(found: Found, against: Found, sent: ClipSet, conditions: str, setups: Mapping[str, str]) -> str:
    """Return the whole report.

    Args:
        found: contender -> what this checkout and the peers did.
        against: contender -> what the other checkout did; empty where there is none.
        conditions: how it was measured, in one sentence.
        setups: contender -> how it ran, in words.
    """
    rows = {**found, **{f"{name}, other checkout": theirs for name, theirs in against.items()}}
    lines = [
        f"{sent.description}, {conditions}; median (lowest-highest round), the word error rate with its 95% interval "
        "over speakers",
        "",
        f"| | {' | '.join(COLUMNS)} |",
        f"| --- {'| --- ' * len(COLUMNS)}|",
        *(_row(name, measured, sent) for name, measured in rows.items()),
        "",
        *(_comparison(found, against) if against else []),
        *_ratios(found),
        *_same_texts(found),
        "",
        "CPU milliseconds per request, by process:",
        "",
        *(f"- {name}: {_cpu(measured)}" for name, measured in rows.items()),
        "",
        "What ran:",
        "",
        *(f"- {name}: {setups[name]}" for name in found),
    ]
    return "\n".join(lines) + "\n"


def write_rate(rate: Estimate | None) -> str:
    """Write an error rate in percent, with its interval."""
    return "-" if rate is None else percent(rate)


def _row(name: str, measured: Measurements, sent: ClipSet) -> str:
    busy = measured.encoder_busy_share
    cells = [
        name,
        spread(measured.requests_per_s, 2),
        spread(measured.real_time_factors, 1),
        spread(measured.p50_ms, 0),
        spread(measured.p99_ms, 0),
        f"{measured.service_cpu_ms:.1f}",
        spread(measured.memory_mib, 0),
        "-" if busy is None else f"{100 * busy:.0f}%",
        "-" if name.startswith(NULL) else write_rate(measured.error_rate(sent.recordings)),
    ]
    return "| " + " | ".join(cells) + " |"


def _comparison(found: Found, against: Found) -> Iterator[str]:
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


def _ratios(found: Found) -> list[str]:
    """Write the service over each other contender, and over its main peer where both compute whole windows."""
    pairs = [(PIPELINED, name) for name in found if name not in {PIPELINED, NULL}]
    pairs.append((FULL_CONTEXT, MAIN_PEER))
    return [
        f"- {one} / {other}: {ratio_spread(found[one].requests_per_s, found[other].requests_per_s, 2)}"
        for one, other in pairs
        if one in found and other in found
    ]


def _same_texts(found: Found) -> Sequence[str]:
    if PIPELINED not in found or SEQUENTIAL not in found:
        return ()
    return (f"- transcripts of pipelined and sequential identical: {_identical(found[PIPELINED], found[SEQUENTIAL])}",)


def _identical(one: Measurements, other: Measurements) -> str:
    different = one.differs_from(other)
    return "yes" if not different else f"NO: {', '.join(different)}"


def _cpu(measured: Measurements) -> str:
    return ", ".join(f"{role} {used:.2f}" for role, used in measured.cpu_ms.items() if used >= SHOWN_MS)
