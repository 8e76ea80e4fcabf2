"""Where the sound of an mp3 begins that has other bytes in front, as radio recorders and broken tags leave them."""

from __future__ import annotations

import re
from typing import Final

SEARCHED: Final = 2**18
"""Bytes in front of the first frame at most."""

FRAMES: Final = 4
"""Frames in a row that are no accident. Random bytes look like one frame every few hundred."""

LONGEST: Final = FRAMES * 2880
"""Bytes of so many frames of the highest bit rate."""

HEADER: Final = 4
CANDIDATE: Final = re.compile(rb"(?=\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef])")
KILOBITS: Final = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Version of MPEG and layer -> bit rates, without the first one, which is free, and the last one, which is none."""

RATES: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""Version bits -> sample rates. 0 is MPEG 2.5, which has the bit rates of MPEG 2."""


def first_frame(data: bytes) -> int | None:
    """Return where ``FRAMES`` frames of MPEG audio follow each other; None if they do nowhere in ``SEARCHED`` bytes."""
    candidates = (match.start() for match in CANDIDATE.finditer(data, 0, SEARCHED))
    return next((start for start in candidates if _begins_frames(data, start)), None)


def _begins_frames(data: bytes, start: int) -> bool:
    for _ in range(FRAMES):
        length = _frame_length(data[start : start + HEADER])
        if not length:
            return False
        start += length
    return True


def _frame_length(header: bytes) -> int:
    """Return the bytes of the frame that begins with ``header`` (ISO/IEC 11172-3, 2.4.2.3); 0 if none does."""
    if len(header) < HEADER or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:  # noqa: PLR2004  (eleven bits of 1)
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bit_rate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version not in RATES or layer == 4 or rate == 3 or bit_rate in (0, 15):  # noqa: PLR2004  (reserved values)
        return 0
    bits_per_s = 1000 * KILOBITS[1 if version == 3 else 2, layer][bit_rate - 1]  # noqa: PLR2004
    samples_per_s = RATES[version][rate]
    if layer == 1:
        return (12 * bits_per_s // samples_per_s + padding) * 4
    samples = 576 if layer == 3 and version != 3 else 1152  # noqa: PLR2004
    return samples // 8 * bits_per_s // samples_per_s + padding
