"""The C library's allocator, told to keep what is freed: a process that needs the same large arrays again and again."""

from __future__ import annotations

import ctypes
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
LARGEST: Final = 2**31 - 1


def keep_freed_memory() -> None:
    """Let this process keep freed memory instead of giving it back to the kernel; no effect without glibc.

    glibc gives every array of more than 32 MB back as soon as it is freed, and the kernel then has to clear each page
    of the next one: CTranslate2's projection of eight full windows to keys and values took four times as long (620 ms
    against 180 on one core). One arena, because only the first one can hold arrays of more than 64 MB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for option, value in ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, LARGEST), (M_ARENA_MAX, 1)):
        mallopt(option, value)
