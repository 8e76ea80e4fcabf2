"""The number of slots where shared memory is small, as in a container: Docker gives it 64 MiB unless told otherwise."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from deployments.shared.memory.directory import SHARED_MEMORY
from deployments.shared.memory.slab import SlabLayout, free_bytes
from deployments.shared.owned_directory import remove_stale
from deployments.shared.settings import Settings

if TYPE_CHECKING:
    from npu_encoder.weights import EncoderDimensions

MIN_UPLOAD_BYTES: Final = 16 * 2**20
UPLOAD_SHARE: Final = 4
"""Uploads and decoded audio get a quarter of what is free, and at least ``MIN_UPLOAD_BYTES``."""

logger = logging.getLogger("ray.serve")


def with_slots_that_fit(settings: Settings, dimensions: EncoderDimensions) -> Settings:
    """Return settings with fewer slots if the default number leaves uploads no room, and say so in the log.

    A number that the user named stays. So do ``max_windows_in_flight`` slots: where even these do not fit, the service
    does not start, and says what to do. What services that are gone left in shared memory is removed before it is
    measured.
    """
    if "slots" in settings.model_fields_set:
        return settings
    directory = settings.shared_memory_dir
    try:
        remove_stale(directory, SHARED_MEMORY)
        free = free_bytes(directory)
    except OSError:  # the ingress says so, and what to do
        return settings
    slots = _most_slots(settings, dimensions, free - max(MIN_UPLOAD_BYTES, free // UPLOAD_SHARE))
    if slots == settings.slots:
        return settings
    logger.warning(
        "The slots are %d instead of %d: %s has %d MiB free, and uploads need room too. "
        "Enlarge it (docker: --shm-size), or set AMANUENSIS_SLOTS",
        slots,
        settings.slots,
        directory,
        free >> 20,
    )
    return settings.model_copy(update={"slots": slots})


def _most_slots(settings: Settings, dimensions: EncoderDimensions, room: int) -> int:
    fewest = settings.max_windows_in_flight
    numbers = range(settings.slots, fewest, -1)
    return next((slots for slots in numbers if SlabLayout.of(slots, dimensions).total_bytes <= room), fewest)
