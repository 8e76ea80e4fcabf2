"""Who speaks when, as texts have it: RTTM for times, STM for words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RTTM, STM = ".rttm", ".stm"
TURN = "SPEAKER"
START, LENGTH, NAME = 3, 4, 7
"""Fields of a line that is a turn."""

STM_FIELDS = 6
STM_COMMENT = ";;"


@dataclass(frozen=True)
class Spoken:
    """One speaker speaks: from when to when, in seconds from the start of the recording."""

    start_s: float
    end_s: float
    speaker: str


@dataclass(frozen=True)
class Said:
    """What one speaker says in one go."""

    speaker: str
    text: str


def read_rttm(path: Path) -> list[Spoken]:
    """Return the turns of an RTTM file, in order."""
    rows = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    turns = [
        Spoken(float(row[START]), float(row[START]) + float(row[LENGTH]), row[NAME])
        for row in rows
        if row and row[0] == TURN
    ]
    return sorted(turns, key=lambda turn: (turn.start_s, turn.end_s, turn.speaker))


def read_stm(path: Path) -> list[Said]:
    """Return what is said in an STM file, in its order."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split(" ", STM_FIELDS) for line in lines if line and not line.startswith(STM_COMMENT)]
    return [Said(row[2], row[STM_FIELDS]) for row in rows]


def speakers_of(turns: Sequence[Spoken]) -> list[str]:
    """Return the speakers in the order in which they begin to speak."""
    return list(dict.fromkeys(turn.speaker for turn in turns))
