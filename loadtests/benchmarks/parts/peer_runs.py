"""Running a peer in a process of its own, and reading what it did."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from loadtests.benchmarks.parts.peers import GENAI, Answer, Job, PeerRun
from loadtests.common.clips import Clip
from loadtests.common.closed_loop import LoadResult
from loadtests.common.paths import ROOT

WARM_UP = 3
PEERS_MODULE = "loadtests.benchmarks.parts.peers"
CONVERT_MODULE = "loadtests.benchmarks.parts.openvino_genai.convert"


@dataclass(frozen=True)
class Workplace:
    """What peers need on the disk.

    Attributes:
        model: a CTranslate2 Whisper directory.
        converted: peer -> what it is given instead of that.
        files: path of a file -> the clip in it.
    """

    model: Path
    converted: Mapping[str, Path]
    files: Mapping[str, Clip]


@contextmanager
def workplace(model: Path, clips: Sequence[Clip], peers: Sequence[str]) -> Iterator[Workplace]:
    """Write the clips as files, and convert the model for those peers that cannot read CTranslate2's."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        files = {str(directory / f"{number:04}.wav"): clip for number, clip in enumerate(clips)}
        for path, clip in files.items():
            Path(path).write_bytes(clip.wav)
        converted = {}
        if GENAI in peers:
            converted[GENAI] = directory / GENAI
            converted[GENAI].mkdir()
            _run_module(CONVERT_MODULE, str(model), str(converted[GENAI]))
        yield Workplace(model, converted, files)


def run_peer(peer: str, place: Workplace, seconds: float) -> tuple[LoadResult, PeerRun]:
    """Let a peer transcribe all clips, pass after pass until ``seconds`` are over.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    files = list(place.files)
    done = run_files(peer, place.converted.get(peer, place.model), files, files[:WARM_UP], seconds)
    result = LoadResult(seconds=done.seconds)
    for answer in done.answers:
        result.add(place.files[answer.file], answer.seconds, answer.text)
    return result, done


def run_files(peer: str, model: Path, files: Sequence[str], warm_up: Sequence[str], seconds: float) -> PeerRun:
    """Let a peer transcribe files.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    job = Job(str(model), files, warm_up, seconds)
    output = _run_module(PEERS_MODULE, peer, text=json.dumps(asdict(job)))
    found = json.loads(output.splitlines()[-1])
    return PeerRun(**{**found, "answers": [Answer(**answer) for answer in found["answers"]]})


def _run_module(module: str, *arguments: str, text: str = "") -> str:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, input=text)
    if done.returncode:
        raise RuntimeError(f"{' '.join([module, *arguments])} failed:\n{done.stderr[-2000:]}")
    return done.stdout
