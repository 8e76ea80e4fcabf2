"""The picture beside the page: who speaks when, above as it is, below as it was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.benchmarks.diarization.error_rate import best_names
from loadtests.benchmarks.diarization.recordings import Recording
from loadtests.benchmarks.diarization.results import Results
from loadtests.benchmarks.diarization.timeline import Spoken, speakers_of

WIDTH_IN, ROW_IN = 10.0, 1.7
LANE = 0.8
"""Height of all speakers of a row together."""
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
NOBODY = "#999999"
"""Colour of a speaker who was found and does not exist."""
DPI = 110
SHOWN = 3
MOST_SILENT = 0.5
"""Recordings of which more is silence make no picture."""


def write_plot(results: Results, contender: str, path: Path) -> None:
    """Draw a few recordings as they are, and as a contender found them."""
    shown = choose(results.groups())
    figure = Figure(figsize=(WIDTH_IN, ROW_IN * len(shown)), layout="constrained")
    for axes, recording in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True):
        _draw(axes, recording, results.run(contender, recording).turns)
    axes.set_xlabel("seconds")
    figure.savefig(path, dpi=DPI)


def choose(groups: Mapping[str, Sequence[Recording]]) -> list[Recording]:
    """Return one recording of each of three groups: that with the most voices, from the groups with the most."""
    best = [max(filter(_is_talkative, group), key=_voices, default=None) for group in groups.values()]
    talkative = [recording for recording in best if recording]
    return sorted(talkative or [group[0] for group in groups.values()], key=_voices, reverse=True)[:SHOWN]


def _is_talkative(recording: Recording) -> bool:
    return sum(turn.end_s - turn.start_s for turn in recording.turns) > MOST_SILENT * recording.seconds


def _voices(recording: Recording) -> tuple[int, int]:
    return recording.speakers, len(recording.turns)


def _draw(axes: Axes, recording: Recording, found: Sequence[Spoken]) -> None:
    real = speakers_of(recording.turns)
    colour = {speaker: COLOURS[number % len(COLOURS)] for number, speaker in enumerate(real)}
    names = best_names(recording.turns, found)
    said = {speaker: colour[names[speaker]] if speaker in names else NOBODY for speaker in speakers_of(found)}
    lanes = [*real, *(speaker for speaker in said if speaker not in names)]
    _draw_row(axes, 1, recording.turns, {speaker: (lanes.index(speaker), colour[speaker]) for speaker in real}, lanes)
    _draw_row(axes, 0, found, {who: (lanes.index(names.get(who, who)), tone) for who, tone in said.items()}, lanes)
    axes.set_yticks([1, 0], ["spoken", "found"])
    axes.set_ylim(-0.5, 1.5)
    axes.set_xlim(0, recording.seconds)
    axes.set_title(f"{recording.name}: {recording.speakers} voices, {len(said)} found", loc="left", fontsize=9)


def _draw_row(
    axes: Axes, row: int, turns: Sequence[Spoken], places: Mapping[str, tuple[int, str]], lanes: Sequence[str]
) -> None:
    """Draw a lane per speaker, so that two at once are both seen."""
    height = LANE / len(lanes)
    for speaker, (lane, colour) in places.items():
        bars = [(turn.start_s, turn.end_s - turn.start_s) for turn in turns if turn.speaker == speaker]
        axes.broken_barh(bars, (row + LANE / 2 - (lane + 1) * height, height), facecolors=colour)
