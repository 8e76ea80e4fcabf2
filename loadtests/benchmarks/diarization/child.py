"""What a process does that one contender runs in: it listens to files, and says what it found and what that cost.

Nothing but Python's own library is imported here: the Python of a contender may have nothing else of ours.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

MIB: Final = 2**20
STATUS: Final = Path("/proc/self/status")
RESET_PEAK: Final = "5"
"""What makes the kernel forget the highest memory use so far (proc(5), clear_refs)."""

Turns = Sequence[tuple[float, float, str]]
Listen = Callable[[str], Turns]
"""Takes the path of a WAV file; returns from when to when who speaks, in seconds."""


@dataclass(frozen=True)
class Heard:
    """What was found in one file.

    Attributes:
        cpu_s: seconds of CPU, of all threads.
        growth_mib: by how much the memory was higher at its peak than before.
    """

    turns: Turns
    cpu_s: float
    growth_mib: float


def answer(listen: Listen) -> None:
    """Listen to the files whose paths are on standard input, and print a JSON document in the last line.

    The first file is heard once before anything is measured, so that models are loaded. The process keeps to one core.
    """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    files = json.loads(sys.stdin.read())
    listen(files[0])
    heard = {file: asdict(_measured(listen, file)) for file in files}
    sys.stdout.write(f"\n{json.dumps({'memory_mib': _memory_mib('VmRSS'), 'heard': heard})}\n")


def _measured(listen: Listen, file: str) -> Heard:
    before_mib = _memory_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text(RESET_PEAK, encoding="ascii")
    began = time.process_time()
    turns = listen(file)
    cpu_s = time.process_time() - began
    return Heard(turns, cpu_s, max(0.0, _memory_mib("VmHWM") - before_mib))


def _memory_mib(field: str) -> float:
    lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 / MIB for line in lines if line.startswith(f"{field}:"))
