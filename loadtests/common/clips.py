"""The clips of the benchmarks: 3 to 8 s each, cut together from the bundled recordings, the same every time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loadtests.common.paths import AUDIO
from loadtests.common.wav import RATE, SAMPLE_BYTES, pcm_of, seconds_of, wav_of

PAUSE = bytes(SAMPLE_BYTES * RATE * 3 // 10)

MIX = (
    ("03_espeak-variant",),
    ("04_espeak-heldout",),
    ("06_flite-rms",),
    ("07_flite-awb",),
    ("01_espeak-plain", "02_espeak-plain"),
    ("05_flite-slt", "09_festival-slt-hts"),
    ("08_flite-kal16", "06_flite-rms"),
    ("07_flite-awb", "05_flite-slt"),
    ("02_espeak-plain", "08_flite-kal16"),
    ("09_festival-slt-hts", "03_espeak-variant"),
    ("01_espeak-plain", "04_espeak-heldout"),
    ("05_flite-slt", "02_espeak-plain", "09_festival-slt-hts"),
)
"""The recordings that each clip joins, with 0.3 s between them."""


@dataclass(frozen=True)
class Clip:
    """One upload.

    Attributes:
        wav: the bytes of a WAV file, 16 kHz, mono, 16 bits.
        seconds: how long it lasts.
        spoken: the words that are spoken in it.
    """

    name: str
    wav: bytes
    seconds: float
    spoken: str


def clips() -> list[Clip]:
    """Return all clips of the mix."""
    lines = (AUDIO / "transcripts.tsv").read_text(encoding="utf-8").splitlines()[1:]
    spoken = {Path(name).stem: text for name, _, text in (line.split("\t") for line in lines)}
    return [_clip(names, spoken) for names in MIX]


def _clip(names: tuple[str, ...], spoken: dict[str, str]) -> Clip:
    pcm = PAUSE.join(pcm_of(AUDIO / f"{name}.wav") for name in names)
    return Clip("+".join(names), wav_of(pcm), seconds_of(pcm), " ".join(spoken[name] for name in names))
