"""What the autoscaling test found, as a page, and as raw data with a plot."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.load.autoscaling.observations import DEPLOYMENTS, LEVELS, LoadLevel, Observations, Row


def as_markdown(seen: Observations) -> str:
    """Return the page."""
    lines = [
        "| phase | clients | seconds | answered/s | p50 ms | p99 ms | queue wait ms | failed | wrong | replicas at the "
        "end (mel, decoder) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for level in LEVELS:
        rows = [row for row in seen.rows if row.phase == level.name]
        lines.append("| " + " | ".join(_summary(level, rows)) + " |")
    lines += ["", "| s | since the phase began | replicas |", "| --- | --- | --- |"]
    for at_s, stage, running in seen.changes:
        lines.append(f"| {at_s:.1f} | {_in_phase(seen, at_s)} | {DEPLOYMENTS[stage]}: {running} |")
    lines += [
        "",
        "| replica added | its process began | ready after s | CPU s until then |",
        "| --- | --- | --- | --- |",
    ]
    for item in seen.starts:
        began = _in_phase(seen, item.ready_at_s - item.seconds)
        lines.append(f"| {item.deployment} | {began} | {item.seconds:.1f} | {item.cpu_s:.1f} |")
    lines += ["", "CPU seconds of each replica in the second half of the hold: " + _shares(seen)]
    total, failed = len(seen.latencies_s) + len(seen.errors), len(seen.errors)
    lines += ["", f"**{total} requests, {failed} failed, {seen.wrong} wrong transcripts, {len(seen.changes)} changes**"]
    lines += sorted(set(seen.errors))
    return "\n".join(lines)


def _in_phase(seen: Observations, at_s: float) -> str:
    """Write a time, counted from the beginning of its level."""
    level, began = [(name, began) for name, began in seen.began_s.items() if began <= at_s][-1]
    return f"{level} + {at_s - began:.1f} s"


def _summary(level: LoadLevel, rows: Sequence[Row]) -> list[str]:
    def mean(name: str) -> str:
        return f"{np.nanmean([getattr(row, name) for row in rows]):.0f}"

    def total(name: str) -> int:
        return sum(getattr(row, name) for row in rows)

    last = rows[-1]
    return [
        level.name,
        str(level.clients),
        f"{level.seconds:g}",
        f"{total('answered') / level.seconds:.1f}",
        mean("p50_ms"),
        mean("p99_ms"),
        mean("queue_wait_ms"),
        str(total("failed")),
        str(total("wrong")),
        f"{last.mel_replicas}, {last.decoder_replicas}",
    ]


def _shares(seen: Observations) -> str:
    return "; ".join(f"{name} {', '.join(f'{used:.1f}' for used in shares)}" for name, shares in seen.shares.items())


def write_table_and_plot(seen: Observations, directory: Path) -> None:
    """Write the rows as ``autoscaling.csv``, and a plot of them as ``autoscaling.png``."""
    with (directory / "autoscaling.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [item.name for item in fields(Row)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in seen.rows)
    _plot(seen, directory / "autoscaling.png")


def _plot(seen: Observations, path: Path) -> None:
    import matplotlib.pyplot as plt  # noqa: PLC0415  (a second, and only for the plot)

    figure, axes = plt.subplots(3, 1, sharex=True, figsize=(8, 6), layout="constrained")
    curves: tuple[tuple[Any, str, tuple[tuple[str, str], ...]], ...] = (
        (axes[0], "count", (("clients", "clients"), ("answered", "requests/s"))),
        (axes[1], "replicas", (("mel_replicas", "MelPreprocessor"), ("decoder_replicas", "Decoder"))),
        (axes[2], "ms", (("p50_ms", "latency p50"), ("queue_wait_ms", "queue wait"))),
    )
    for axis, label, series in curves:
        for name, legend in series:
            axis.step([row.at_s for row in seen.rows], [getattr(row, name) for row in seen.rows], label=legend)
        axis.set_ylabel(label)
        axis.legend()
    axes[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=80)
