"""Subtitles in the formats SubRip and WebVTT: for the ingress and for the command line, which must not differ."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Protocol


class Cue(Protocol):
    """A text, who says it if that is known, and when it is shown, in seconds from the start of the audio."""

    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...
    @property
    def text(self) -> str: ...
    @property
    def speaker(self) -> str | None: ...


def as_srt(cues: Iterable[Cue]) -> str:
    """Return SubRip: numbered cues, comma before the milliseconds."""
    blocks = (
        # "-->" inside a cue's text would be read as the next cue's times.
        f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n"
        f"{_speaker(cue)}{_one_line(cue.text).replace('-->', '->')}\n"
        for number, cue in enumerate(cues, 1)
    )
    return "\n".join(blocks)


def as_vtt(cues: Iterable[Cue]) -> str:
    """Return WebVTT: a header, point before the milliseconds, markup escaped."""
    blocks = (
        f"{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}\n{_voice(cue)}{_escaped(cue.text)}\n" for cue in cues
    )
    return "\n".join(("WEBVTT\n", *blocks))


def _speaker(cue: Cue) -> str:
    return f"{_one_line(cue.speaker)}: " if cue.speaker else ""


def _voice(cue: Cue) -> str:
    """Return WebVTT's own mark for who speaks."""
    return f"<v {_escaped(cue.speaker)}>" if cue.speaker else ""


def _escaped(text: str) -> str:
    return html.escape(_one_line(text), quote=False)


def _one_line(text: str) -> str:
    # An empty line would end the cue.
    return " ".join(text.split())


def _clock(seconds: float, decimal_mark: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, milliseconds = divmod(milliseconds, 3_600_000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    whole, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}{decimal_mark}{milliseconds:03d}"
