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

from loadtests.benchmarks.accuracy.corpus import CorpusFile
from loadtests.benchmarks.parts.clip_sets import ClipSet
from loadtests.benchmarks.parts.peers import GENAI, Answer, Job, PeerRun
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
        files: path of a file -> the recording in it.
    """

    model: Path
    converted: Mapping[str, Path]
    files: Mapping[str, CorpusFile]


@contextmanager
def workplace(model: Path, sent: ClipSet, peers: Sequence[str]) -> Iterator[Workplace]:
    """Write the clips as files, and convert the model for those peers that cannot read CTranslate2's."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        files: dict[str, CorpusFile] = {}
        for number, clip in enumerate(sent.clips):
            path = directory / f"{number:04}.wav"
            path.write_bytes(clip.wav)
            files[str(path)] = sent.recordings[clip.name]
        yield Workplace(model, convert_model(model, directory, peers), files)


def convert_model(model: Path, directory: Path, peers: Sequence[str]) -> dict[str, Path]:
    """Write into a directory what those peers need that cannot read CTranslate2's models: peer -> its model."""
    if GENAI not in peers:
        return {}
    converted = directory / GENAI
    converted.mkdir()
    _run_module(CONVERT_MODULE, str(model), str(converted))
    return {GENAI: converted}


def run_peer(
    peer: str, place: Workplace, *, seconds: float = 0.0, warm_up: Sequence[str] = ()
) -> tuple[LoadResult, PeerRun]:
    """Let a peer transcribe all files, pass after pass until ``seconds`` are over.

    Args:
        warm_up: files to begin with, unmeasured; the first three where none are named.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    files = list(place.files)
    job = Job(str(place.converted.get(peer, place.model)), files, warm_up or files[:WARM_UP], seconds)
    done = _read_run(_run_module(PEERS_MODULE, peer, text=json.dumps(asdict(job))))
    result = LoadResult(seconds=done.seconds)
    for answer in done.answers:
        recording = place.files[answer.file]
        result.add(recording.file, recording.seconds, answer.seconds, answer.text)
    return result, done


def _read_run(output: str) -> PeerRun:
    found = json.loads(output.splitlines()[-1])
    return PeerRun(**{**found, "answers": [Answer(**answer) for answer in found["answers"]]})


def _run_module(module: str, *arguments: str, text: str = "") -> str:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, input=text)
    if done.returncode:
        raise RuntimeError(f"{' '.join([module, *arguments])} failed:\n{done.stderr[-2000:]}")
    return done.stdout
