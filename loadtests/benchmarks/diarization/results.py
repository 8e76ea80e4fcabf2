"""Everything that a run found: one JSON file, which holds all that the page needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from loadtests.benchmarks.diarization.contenders import Run, Runs
from loadtests.benchmarks.diarization.error_rate import SpeakerErrors, speaker_errors
from loadtests.benchmarks.diarization.recordings import Recording
from loadtests.benchmarks.diarization.service import Answer


@dataclass(frozen=True)
class Results:
    """One run.

    Attributes:
        command: what made it.
        corpus: the name of its directory.
        machine: what ``machine_facts`` returned.
        setups: contender -> what it is.
        recordings: in order.
        runs: contender -> what it found.
        model: what the service wrote the words with; empty where nobody asked it.
        answers: name of a recording -> what the service answered; None where nobody asked it.
        diarizer_mib: the most memory that its Diarizer held; None where it was not started for this run.
    """

    command: str
    corpus: str
    machine: Mapping[str, Any]
    setups: Mapping[str, str]
    recordings: tuple[Recording, ...]
    runs: Mapping[str, Runs]
    model: str = ""
    answers: Mapping[str, Answer] | None = None
    diarizer_mib: float | None = None

    def run(self, contender: str, recording: Recording) -> Run:
        """Return what a contender found in a recording."""
        return self.runs[contender].by_recording[recording.name]

    def errors(self, contender: str, recording: Recording, collar_s: float = 0.0) -> SpeakerErrors:
        """Return what is wrong with that."""
        return speaker_errors(recording.turns, self.run(contender, recording).turns, collar_s)

    def groups(self) -> dict[str, list[Recording]]:
        """Return group -> its recordings, in order."""
        found: dict[str, list[Recording]] = {}
        for recording in self.recordings:
            found.setdefault(recording.group, []).append(recording)
        return found


ADAPTER = TypeAdapter(Results)


def write_results(results: Results, path: Path) -> None:
    """Write the JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(ADAPTER.dump_json(results, indent=1))


def read_results(path: Path) -> Results:
    """Read what ``write_results`` wrote."""
    return ADAPTER.validate_json(path.read_bytes())
