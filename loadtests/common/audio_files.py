"""The files that clients upload: the bundled recordings, minutes of them joined, and files that are no audio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loadtests.common.clips import PAUSE
from loadtests.common.paths import AUDIO
from loadtests.common.wav import pcm_of, pcm_of_wav, seconds_of, wav_of

LONG_S = 10.0
MINUTES_S = 240.0
SHORT, LONG, MINUTES = "short", "long", "minutes"
BAD: Mapping[str, bytes] = {"empty": b"", "text": b"this is no audio\n" * 100, "noise": bytes(range(256)) * 40}


@dataclass(frozen=True)
class AudioFile:
    """One file.

    Attributes:
        size: ``short``, ``long`` (more than 10 s) or ``minutes``.
        content: the bytes of a WAV file.
    """

    name: str
    size: str
    content: bytes

    @property
    def seconds(self) -> float:
        return seconds_of(pcm_of_wav(self.content))


def bundled_files() -> list[AudioFile]:
    """Return all good files, the longest last."""
    recordings = {path.stem: pcm_of(path) for path in sorted(AUDIO.glob("*.wav"))}
    found = [AudioFile(name, size_of(seconds_of(pcm)), wav_of(pcm)) for name, pcm in recordings.items()]
    once = PAUSE.join(recordings.values())
    repeats = round(MINUTES_S / seconds_of(once))
    return [*found, AudioFile("minutes", MINUTES, wav_of(PAUSE.join([once] * repeats)))]


def size_of(seconds: float) -> str:
    """Return ``long`` for a file of more than 10 s, else ``short``."""
    return LONG if seconds > LONG_S else SHORT
