"""The contenders that say who speaks when, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.shared.speaker_models import BUILT_IN_SPEAKERS
from loadtests.benchmarks.diarization.recordings import Recording
from loadtests.benchmarks.diarization.timeline import Spoken
from loadtests.common.paths import ROOT

PACKAGE = "loadtests.benchmarks.diarization"
OURS = "this service"
LAST_WORDS = 2000
VERSION = "import importlib.metadata as m; print(m.version('senko'))"


@dataclass(frozen=True)
class Contender:
    """Something that says who speaks when.

    Attributes:
        command: what starts its process.
        setup: what it is, in words.
    """

    name: str
    command: tuple[str, ...]
    setup: str


@dataclass(frozen=True)
class Run:
    """What a contender found in one recording, and what that cost.

    Attributes:
        cpu_s: seconds of CPU, of all threads, on one core.
        growth_mib: by how much the memory was higher at its peak than before.
    """

    turns: tuple[Spoken, ...]
    cpu_s: float
    growth_mib: float

    @property
    def speakers(self) -> int:
        return len({turn.speaker for turn in self.turns})


@dataclass(frozen=True)
class Runs:
    """All runs of a contender.

    Attributes:
        memory_mib: what its process holds at the end.
        by_recording: name of a recording -> run.
    """

    memory_mib: float
    by_recording: Mapping[str, Run]


def contenders(senko_python: str | None, pyannote: str | None) -> list[Contender]:
    """Return those that can run.

    Args:
        senko_python: a Python that has senko installed; None leaves it out.
        pyannote: a pipeline of pyannote.audio, as ``diarization_model`` names it; None leaves it out.
    """
    found = [Contender(OURS, _listener(BUILT_IN_SPEAKERS), "`deployments.diarizer`, nothing set")]
    if senko_python:
        version = subprocess.run(
            [senko_python, "-c", VERSION], check=True, capture_output=True, text=True
        ).stdout.strip()
        setup = "`senko.Diarizer(device='cpu')`, nothing else set: Silero's voice detection and the same embedding"
        found.append(Contender(f"senko {version}", (senko_python, "-m", f"{PACKAGE}.with_senko"), setup))
    if pyannote:
        found.append(Contender(pyannote, _listener(pyannote), "a pipeline of pyannote.audio, nothing set"))
    return found


def run(contender: Contender, files: Mapping[str, Recording]) -> Runs:
    """Let a contender listen to all files.

    Args:
        files: path -> recording.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    done = subprocess.run(
        contender.command, cwd=ROOT, check=False, capture_output=True, text=True, input=json.dumps(list(files))
    )
    if done.returncode:
        raise RuntimeError(f"{contender.name} failed:\n{done.stderr[-LAST_WORDS:]}")
    document = json.loads(done.stdout.splitlines()[-1])
    heard = {recording.name: _run(document["heard"][file]) for file, recording in files.items()}
    return Runs(document["memory_mib"], heard)


def _listener(model: str) -> tuple[str, ...]:
    return sys.executable, "-m", f"{PACKAGE}.with_listener", model


def _run(heard: Mapping[str, Any]) -> Run:
    return Run(tuple(Spoken(*turn) for turn in heard["turns"]), heard["cpu_s"], heard["growth_mib"])
