"""A run as the report needs it: its recordings, their verdicts, and what they are results of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from loadtests.load.scenarios.judgement import FIGURES, judge_recording
from loadtests.load.scenarios.recording import MANIFEST, Recording, Verdict, read_recording, recorded


@dataclass(frozen=True)
class JudgedScenario:
    """One scenario: what was recorded, and the verdicts by the criteria that were recorded with it."""

    recording: Recording

    @cached_property
    def verdicts(self) -> list[Verdict]:
        return judge_recording(self.recording)

    @property
    def name(self) -> str:
        return self.recording.scenario.name

    @property
    def passed(self) -> bool:
        return all(verdict.passed for verdict in self.verdicts)

    def figure(self, name: str) -> float | None:
        """Compute one of ``judgement.FIGURES``."""
        return FIGURES[name].compute(self.recording)


@dataclass(frozen=True)
class RecordedRun:
    """All scenarios of a run."""

    name: str
    manifest: dict[str, Any]
    scenarios: list[JudgedScenario]

    def find(self, name: str) -> JudgedScenario | None:
        """Return the scenario with this name; None if the run has none."""
        return next((one for one in self.scenarios if one.name == name), None)


def read_run(directory: Path) -> RecordedRun:
    """Read everything that a run has finished.

    Raises:
        FileNotFoundError: the directory holds no run.
    """
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    found = [JudgedScenario(read_recording(path)) for path in recorded(directory)]
    return RecordedRun(directory.resolve().name, manifest, found)
