"""What a client of the chaos test wants to do next, drawn at random."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from loadtests.common.audio_files import BAD, LONG, MINUTES, SHORT, AudioFile
from loadtests.common.client import Upload, make_upload
from loadtests.load.calibration import Calibration

T = TypeVar("T")
Purpose = Literal["transcribe", "bad upload", "hang up", "short deadline"]

CLIENTS = 12
DEADLINE_S = 60.0
PATIENCE = 2 * CLIENTS
"""How many times as long as a file takes alone its client waits at least: all may have sent such a file before it."""

SHORT_DEADLINE = (0.5, 12.0)
HANG_UP = (0.0, 12.0)
"""In multiples of a request alone, so that clients go away at every moment of a request under load."""

PURPOSES: dict[Purpose, float] = {"transcribe": 0.8, "bad upload": 0.08, "hang up": 0.07, "short deadline": 0.05}
SIZES = {SHORT: 0.85, LONG: 0.14, MINUTES: 0.01}
PRIORITIES = {"high": 0.2, "normal": 0.6, "low": 0.2}
FORMATS = {"json": 0.5, "verbose_json": 0.25, "stream": 0.25}


@dataclass(frozen=True)
class Intent:
    """What a client is about to do.

    Attributes:
        sample: name of the file.
        deadline_s: seconds that the service is given, and the client's own patience.
        expected: the text that must come back; empty for a file that is no audio.
    """

    purpose: Purpose
    sample: str
    size: str
    upload: Upload
    deadline_s: float
    expected: str = ""


class Menu:
    """All that clients may want.

    Attributes:
        files: all good files.
        calibration: the texts that the calm service gave, and what it took.
    """

    def __init__(self, rng: random.Random, files: Sequence[AudioFile], calibration: Calibration) -> None:
        self.files = files
        self.calibration = calibration
        self._rng = rng
        self._by_size = {size: [file for file in files if file.size == size] for size in SIZES}

    @property
    def longest_deadline_s(self) -> float:
        return max(self._deadline_s(file) for file in self.files)

    def jitter(self) -> float:
        """Return a number between 0 and 1."""
        return self._rng.random()

    def choose(self) -> Intent:
        """Draw what to do next."""
        purpose = self._draw(PURPOSES)
        answer_format, priority = self._draw(FORMATS), self._draw(PRIORITIES)
        fields = {"stream": "true"} if answer_format == "stream" else {"response_format": answer_format}
        if purpose == "bad upload":
            name = self._rng.choice(sorted(BAD))
            upload = make_upload(BAD[name], fields, priority=priority, deadline_s=DEADLINE_S)
            return Intent(purpose, name, SHORT, upload, DEADLINE_S)
        size = self._draw(SIZES)
        file = self._rng.choice(self._by_size[size])
        deadline_s = self._alone(SHORT_DEADLINE) if purpose == "short deadline" else self._deadline_s(file)
        upload = make_upload(file.content, fields, priority=priority, deadline_s=deadline_s)
        return Intent(purpose, file.name, size, upload, deadline_s, self.calibration.texts[file.name])

    def probe(self) -> Intent:
        """Return the request by which a recovery is seen; its priority is high, so that the load does not hide it."""
        file = self._by_size[SHORT][0]
        upload = make_upload(file.content, priority="high", deadline_s=DEADLINE_S)
        return Intent("transcribe", file.name, SHORT, upload, DEADLINE_S, self.calibration.texts[file.name])

    def moment(self) -> tuple[float, float]:
        """Draw when a client hangs up: the share of its request that it sends, then the seconds that it waits."""
        return self._rng.choice((self._rng.random(), 1.0)), self._alone(HANG_UP)

    def _deadline_s(self, file: AudioFile) -> float:
        return max(DEADLINE_S, PATIENCE * self.calibration.alone_s[file.name])

    def _alone(self, multiples: tuple[float, float]) -> float:
        """Draw seconds between multiples of what a request takes alone."""
        return self._rng.uniform(*multiples) * self.calibration.request_s

    def _draw(self, weights: Mapping[T, float]) -> T:
        return self._rng.choices(list(weights), list(weights.values()))[0]
