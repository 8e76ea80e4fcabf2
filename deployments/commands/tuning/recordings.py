"""Windows of many lengths, cut from the recordings of a folder."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deployments.mel.decoding import decode
from deployments.mel.log_mel import log_mel
from deployments.mel.track_decoding import AudioLimits
from deployments.mel.windows import find_windows
from deployments.shared.contracts import SpeechOptions, Window
from deployments.shared.errors import AmanuensisError
from deployments.shared.frames import HOP_LENGTH, N_FRAMES

LENGTHS_S: Final = (4.0, 7.0, 11.0, 16.0, 22.0)
"""The longest windows of the recordings, in turn: silence has to be met at every position behind the first seconds."""

PER_RECORDING: Final = 3
"""Windows that one recording gives at most, so that no voice and no room outweighs the others."""

LIMITS: Final = AudioLimits(max_seconds=7200.0, max_channels=8, max_cpu_s=60.0)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A window of a recording.

    Attributes:
        recording: number of the recording.
        window: as cut out: it begins at 0 s.
        pcm: its audio, ``[samples]``, 16 kHz mono.
    """

    recording: int
    window: Window
    pcm: NDArray[np.int16]

    @property
    def audio_frames(self) -> int:
        """Frames of a log-mel that hold its audio."""
        return -(-len(self.pcm) // HOP_LENGTH)

    def log_mel(self, n_mels: int, frames: int = N_FRAMES) -> NDArray[np.float32]:
        """Return its log-mel, ``[n_mels, frames]``."""
        out = np.empty((n_mels, frames), np.float32)
        log_mel(self.pcm, out)
        return out


def find_recordings(folder: Path, excluded: Sequence[str]) -> list[Path]:
    """Return the files of a folder and of those in it, in an order that chance decides, always the same.

    Args:
        folder: of audio files; others in it do no harm.
        excluded: patterns of paths in the folder that are left out, such as ``test/*``.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    taken = [path for path in files if not any(fnmatch(str(path.relative_to(folder)), each) for each in excluded)]
    random.Random(0).shuffle(taken)  # noqa: S311  (nothing secret)
    return taken


def cut(recordings: Sequence[Path], at_most: int) -> Iterator[Spoken]:
    """Yield about ``at_most`` windows with speech in them, of the first recordings; files without audio give none."""
    recording = 0
    for path in recordings:
        if recording * PER_RECORDING >= at_most:
            return
        windows = list(_windows(path, recording, LENGTHS_S[recording % len(LENGTHS_S)]))
        yield from windows
        recording += bool(windows)


def _windows(path: Path, recording: int, longest_s: float) -> Iterator[Spoken]:
    try:
        with path.open("rb") as file:
            pcm = decode(file, LIMITS).mono
    except AmanuensisError:
        return
    windows = find_windows(pcm, SpeechOptions(vad_filter=True, max_window_s=longest_s))
    step = max(1, len(windows) // PER_RECORDING)
    for window in windows[::step][:PER_RECORDING]:
        yield Spoken(recording, _moved_to_start(window), pcm[window.samples])


def _moved_to_start(window: Window) -> Window:
    speech = tuple((start - window.start_s, end - window.start_s) for start, end in window.speech or ())
    return replace(window, start_s=0.0, end_s=window.duration_s, speech=speech)
