"""What clients send: the bundled recordings, several minutes cut together from them, and files that are no audio."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from loadtests.common.clips import PAUSE, SAMPLES
from loadtests.common.wav import pcm_of, pcm_of_wav, seconds_of, wav_of

LONG_S = 10.0
MINUTES_S = 240.0
SHORT, LONG, MINUTES = "short", "long", "minutes"
BAD: Mapping[str, bytes] = {"empty": b"", "text": b"this is no audio\n" * 100, "noise": bytes(range(256)) * 40}


@dataclass(frozen=True)
class Sample:
    """One file.

    Attributes:
        size: ``short``, ``long`` (more than 10 s) or ``minutes``.
    """

    name: str
    size: str
    content: bytes

    @property
    def seconds(self) -> float:
        """How long it lasts: ``content`` is a WAV file."""
        return seconds_of(pcm_of_wav(self.content))


@dataclass(frozen=True)
class Upload:
    """A multipart body."""

    content_type: str
    body: bytes


def samples() -> list[Sample]:
    """All good files, the longest last."""
    recordings = {path.stem: pcm_of(path) for path in sorted(SAMPLES.glob("*.wav"))}
    found = [Sample(name, LONG if seconds_of(pcm) > LONG_S else SHORT, wav_of(pcm)) for name, pcm in recordings.items()]
    once = PAUSE.join(recordings.values())
    repeats = round(MINUTES_S / seconds_of(once))
    return [*found, Sample("minutes", MINUTES, wav_of(PAUSE.join([once] * repeats)))]


def upload(content: bytes, fields: Mapping[str, str]) -> Upload:
    """The form that a client sends."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    )
    body = b"".join([*parts, head.encode(), content, f"\r\n--{boundary}--\r\n".encode()])
    return Upload(f"multipart/form-data; boundary={boundary}", body)
