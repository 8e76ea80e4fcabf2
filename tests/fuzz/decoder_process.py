"""The audio decoder in a process of its own, so that a crash, a hang or growth is seen and survived.

Run as a program it is the child: it reads uploads from its standard input and answers each with a line of JSON.
"""

from __future__ import annotations

import io
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

CPU_SECONDS = 5.0  # of one upload
WALL_SECONDS = 60.0  # of one upload; more than the CPU time, because the machine may be busy
ROOM_BYTES = 512 * 2**20  # of address space beyond what the idle decoder has
MAX_SECONDS = 60.0
MAX_CHANNELS = 8
LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one upload.

    Attributes:
        kind: ``samples``, the name of an error that clients may see, or what went wrong with the decoder.
        is_fine: samples within the limits, or a typed error.
        cpu_s: CPU time.
        rss: resident memory afterwards, in bytes; 0 if the process died.
        peak: largest resident memory meanwhile, in bytes.
    """

    kind: str
    is_fine: bool
    cpu_s: float = 0.0
    rss: int = 0
    peak: int = 0


class DecoderProcess:
    """A child that decodes one upload after the other; a new one is started when it dies.

    Args:
        program: that the child runs; it must end in ``serve()``.
    """

    def __init__(self, program: Path = Path(__file__)) -> None:
        self._program = program
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def decode(self, upload: bytes) -> Outcome:
        child = self._running()
        stdin, stdout = _pipes(child)
        try:
            stdin.write(LENGTH.pack(len(upload)) + upload)
            stdin.flush()
            answers, _, _ = select.select([stdout], [], [], WALL_SECONDS)
        except BrokenPipeError:
            answers = [stdout]
        line = stdout.readline() if answers else b""
        if line:
            return Outcome(**json.loads(line))
        return self._died() if answers else self._hung()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            paths = os.pathsep.join(path or "." for path in sys.path)
            self._child = subprocess.Popen(
                [sys.executable, str(self._program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": paths},
            )
        return self._child

    def _died(self) -> Outcome:
        code = self._stop()
        if code == -signal.SIGPROF:
            return Outcome(f"more than {CPU_SECONDS:g} s of CPU", is_fine=False)
        return Outcome(f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}", is_fine=False)

    def _hung(self) -> Outcome:
        if self._child is not None:
            self._child.kill()
        self._stop()
        return Outcome(f"no answer for {WALL_SECONDS:g} s", is_fine=False)

    def _stop(self) -> int:
        child, self._child = self._child, None
        if child is None:
            return 0
        stdin, stdout = _pipes(child)
        stdout.close()
        stdin.close()
        return child.wait()


def _pipes(child: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if child.stdin is None or child.stdout is None:
        raise TypeError("the child must be started with pipes")
    return child.stdin, child.stdout


def serve() -> None:
    """The child: answers uploads until its standard input ends, within its limits."""
    import deployments.mel.decoding  # noqa: F401, PLC0415  (the child's; loaded before memory is limited)

    in_use = _memory("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (in_use + ROOM_BYTES, in_use + ROOM_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    while header := sys.stdin.buffer.read(LENGTH.size):
        upload = sys.stdin.buffer.read(*LENGTH.unpack(header))
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        kind, is_fine = decode_upload(upload)
        signal.setitimer(signal.ITIMER_PROF, 0)
        outcome = {"kind": kind, "is_fine": is_fine, "cpu_s": time.process_time() - began}
        memory = {"rss": _memory("VmRSS"), "peak": _memory("VmHWM")}
        sys.stdout.write(json.dumps(outcome | memory) + "\n")
        sys.stdout.flush()


def decode_upload(upload: bytes) -> tuple[str, bool]:
    """What an ``Outcome`` calls ``kind`` and ``is_fine``."""
    from deployments.mel.decoding import decode  # noqa: PLC0415
    from deployments.mel.track_decoding import AudioLimits  # noqa: PLC0415
    from deployments.shared.errors import InvalidAudioError  # noqa: PLC0415
    from deployments.shared.frames import SAMPLE_RATE  # noqa: PLC0415

    try:
        pcm: Any = decode(io.BytesIO(upload), AudioLimits(MAX_SECONDS, MAX_CHANNELS, CPU_SECONDS / 2)).mono
    except InvalidAudioError as error:
        return type(error).__name__, True
    except BaseException as error:  # noqa: BLE001  (whatever it is, it is the finding)
        return f"{type(error).__module__}.{type(error).__name__}: {error}", False
    is_fine = pcm.ndim == 1 and pcm.dtype == "int16" and 0 < len(pcm) <= (MAX_SECONDS + 1) * SAMPLE_RATE
    return ("samples", True) if is_fine else (f"bad samples {pcm.dtype} {pcm.shape}", False)


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


if __name__ == "__main__":
    serve()
