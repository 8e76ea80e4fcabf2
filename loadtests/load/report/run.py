"""A run as the report needs it: its recordings, their verdicts, and what they are results of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from loadtests.load.scenarios.figures import FIGURES, judge
from loadtests.load.scenarios.recording import MANIFEST, Recording, Verdict, read_recording, recorded


@dataclass(frozen=True)
class Judged:
    """One scenario: what was recorded, and the verdicts by the criteria that were recorded with it."""

    recording: Recording

    @cached_property
    def verdicts(self) -> list[Verdict]:
        return judge(self.recording)

    @property
    def name(self) -> str:
        return self.recording.scenario.name

    @property
    def passed(self) -> bool:
        return all(verdict.passed for verdict in self.verdicts)

    def figure(self, name: str) -> float | None:
        """One of ``figures.FIGURES``."""
        return FIGURES[name].compute(self.recording)


@dataclass(frozen=True)
class Run:
    """All scenarios of a run."""

    name: str
    manifest: dict[str, Any]
    scenarios: list[Judged]

    def find(self, name: str) -> Judged | None:
        return next((one for one in self.scenarios if one.name == name), None)


def read_run(directory: Path) -> Run:
    """Everything a run has finished.

    Raises:
        FileNotFoundError: this is no directory of a run.
    """
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    found = [Judged(read_recording(path)) for path in recorded(directory)]
    return Run(directory.resolve().name, manifest, found)
