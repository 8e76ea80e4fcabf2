"""What the benchmark of long recordings found, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from loadtests.benchmarks.accuracy.corpus import CorpusFile
from loadtests.benchmarks.parts.clip_sets import ClipSet
from loadtests.benchmarks.parts.long_files import LongFiles
from loadtests.benchmarks.parts.measurements import Measurements
from loadtests.benchmarks.parts.spread import ratio_spread, spread
from loadtests.benchmarks.parts.throughput_report import write_rate

SERVICE, SHORT = "the service", "short requests"
ALONE, BESIDE = "alone", "beside an hour"


@dataclass(frozen=True)
class LongRun:
    """One run.

    Attributes:
        found: (contender, group of files) -> what it did, and (``SHORT``, ``ALONE`` or ``BESIDE``) likewise.
        short: the clips of the short requests.
        conditions: how it was measured, in one sentence.
    """

    found: Mapping[tuple[str, str], Measurements]
    files: LongFiles
    short: ClipSet
    conditions: str


def write_report(run: LongRun) -> str:
    """Return the whole report."""
    lines = [
        f"{run.conditions}; median (lowest-highest round), word error rates with their 95% interval over speakers",
        "",
        *_long_table(run),
        "",
        *_ratios(run),
        "",
        f"Two clients, one request at a time each, clips with a mean of {run.short.mean_s:.1f} s:",
        "",
        *_short_table(run),
        "",
        f"Beside them the hour was transcribed at {_factor(run, SERVICE, BESIDE)} times real time.",
    ]
    return "\n".join(lines) + "\n"


def _long_table(run: LongRun) -> Iterator[str]:
    yield "| | files | x real time | CPU s per hour | MiB | WER % |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for group, recordings in run.files.groups():
        for (contender, sent), measured in run.found.items():
            if sent == group:
                yield f"| {' | '.join(_cells(contender, group, measured, recordings))} |"


def _cells(contender: str, group: str, measured: Measurements, recordings: Mapping[str, CorpusFile]) -> Iterator[str]:
    audio_s = sum(recording.seconds for recording in recordings.values())
    rounds = len(measured.real_time_factors)
    yield contender
    yield f"{group}: {len(recordings)} of {audio_s:.0f} s in all"
    yield spread(measured.real_time_factors, 1)
    yield f"{measured.service_cpu_ms / 1000 * measured.count / rounds / audio_s * 3600:.0f}"
    yield spread(measured.memory_mib, 0)
    yield write_rate(measured.error_rate({recording.file: recording for recording in recordings.values()}))


def _ratios(run: LongRun) -> Iterator[str]:
    for (contender, group), theirs in run.found.items():
        if contender not in {SERVICE, SHORT}:
            ours = run.found[SERVICE, group]
            ratio = ratio_spread(ours.real_time_factors, theirs.real_time_factors, 2)
            yield f"- {group}: {SERVICE} / {contender}: {ratio}"


def _short_table(run: LongRun) -> Iterator[str]:
    yield "| | requests/s | p50 ms | p95 ms | p99 ms |"
    yield "| --- | --- | --- | --- | --- |"
    for beside in (ALONE, BESIDE):
        measured = run.found[SHORT, beside]
        figures = (measured.requests_per_s, measured.p50_ms, measured.p95_ms, measured.p99_ms)
        cells = [spread(values, digits) for values, digits in zip(figures, (2, 0, 0, 0), strict=True)]
        yield f"| {' | '.join([beside, *cells])} |"


def _factor(run: LongRun, contender: str, group: str) -> str:
    return spread(run.found[contender, group].real_time_factors, 1)
