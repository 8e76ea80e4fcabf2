"""The cores that this process may use, and the defaults of the settings that follow from their number."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")

GROWS_FROM: Final = 8
"""Fewest cores on which stages grow by default. Fewer are kept busy by one replica of each."""

MOST_CORES: Final = 64
"""Cores beyond which the defaults grow no more: about what one ingress can keep busy with Whisper base."""

ENCODER_COST, DECODER_COST, MEL_COST, OTHER_COST = 1.0, 1.0, 0.1, 0.05
"""CPU time of one window with Whisper base, as multiples of the Encoder's; the last one is the ingress', HAProxy's and
Ray's."""

DECODER_BATCH: Final = 16
"""Most windows in one batch of a Decoder, by default."""

PER_DECODER: Final = DECODER_BATCH // 2
"""Slots per Decoder: a further one is added when more windows than this are under way for each."""


@dataclass(frozen=True, slots=True)
class CoreDefaults:
    """The defaults that depend on the number of cores, under the names that the settings have in ``Settings``."""

    slots: int
    encoder_threads: int
    max_mel_replicas: int
    max_decoder_replicas: int


def defaults_for(cores: int) -> CoreDefaults:
    """Return the defaults on a machine with this many cores.

    Encoder and Decoders get an equal share of the cores, because a window costs both about the same. The Encoder has
    its threads from the start, because they cost little memory. Decoders are added under load, because each has its own
    copy of the model. One MelPreprocessor is enough for ten threads of the Encoder; one more may be added, for uploads
    that take long to decode. The slots hold half a batch for each Decoder, and as many windows that are
    on their way to one.
    """
    if cores < GROWS_FROM:
        return CoreDefaults(slots=2 * PER_DECODER, encoder_threads=1, max_mel_replicas=0, max_decoder_replicas=0)
    per_window = ENCODER_COST + DECODER_COST + MEL_COST + OTHER_COST
    share = math.floor(min(cores, MOST_CORES) / per_window)
    return CoreDefaults(
        slots=(share + 1) * PER_DECODER,
        encoder_threads=share,
        max_mel_replicas=math.ceil(share * MEL_COST) + 1,
        max_decoder_replicas=share,
    )


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Return the cores that this process may run on, or those that its container may use where they are fewer.

    Args:
        cgroup: directory in which the kernel tells the limits of the container.
    """
    limit = min(_limit_v2(cgroup), _limit_v1(cgroup / "cpu"))
    return max(1, math.floor(min(limit, len(os.sched_getaffinity(0)))))


def _limit_v2(cgroup: Path) -> float:
    """Return the cores that a cgroup of version 2 may use; infinity where it has no limit."""
    with suppress(OSError, ValueError):  # no such cgroup, or "max"
        quota, period = map(int, (cgroup / "cpu.max").read_text(encoding="ascii").split())
        return quota / period
    return math.inf


def _limit_v1(cgroup: Path) -> float:
    """Return the cores that a cgroup of version 1 may use; infinity where it has no limit."""
    with suppress(OSError, ValueError):
        quota = int((cgroup / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period = int((cgroup / "cpu.cfs_period_us").read_text(encoding="ascii"))
        return quota / period if quota > 0 else math.inf
    return math.inf
