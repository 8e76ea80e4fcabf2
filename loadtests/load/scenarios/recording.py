"""The raw results of a run on disk: one directory per run, in it one per scenario.

``manifest.json`` says what was measured on what. In each scenario's directory ``scenario.json`` has the plan,
``calibration.json`` what the service can do, ``requests.csv`` a line per request, ``samples.jsonl`` a line per second,
``rest.json`` what was left afterwards, ``verdicts.json`` the judgement.
"""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from pydantic import TypeAdapter

from loadtests.common.replies import Outcome
from loadtests.load.calibration import Calibration
from loadtests.load.scenarios.plan import Scenario, scenarios
from loadtests.load.scenarios.traffic import Kind

MANIFEST, SCENARIO, REQUESTS = "manifest.json", "scenario.json", "requests.csv"
CALIBRATION = "calibration.json"
SAMPLES, REST, VERDICTS = "samples.jsonl", "rest.json", "verdicts.json"
SAMPLER = "sampler"
"""The role of the process that takes the snapshots."""

MARGIN_S = 1.0
"""Snapshots within this time before the first request and after the last answer belong to a recording."""


@dataclass(frozen=True)
class RequestRow:
    """One line of ``requests.csv``. Times in seconds, points in time since the epoch.

    Attributes:
        due: when the request should have been sent.
        began: when it was sent.
        seconds: how long it took until its answer was complete.
        retry_after_s: what a refusal said; None if it said nothing.
    """

    phase: str
    due: float
    began: float
    seconds: float
    clip: str
    size: str
    kind: Kind
    priority: str
    status: int
    outcome: Outcome
    code: str
    retry_after_s: float | None

    @property
    def ended(self) -> float:
        return self.began + self.seconds


@dataclass(frozen=True)
class Snapshot:
    """The service at one moment.

    Attributes:
        at: the moment, in seconds since the epoch.
        metrics: Prometheus series with its labels -> value.
        memory_mib: role -> proportional set size.
        cpu_s: role -> CPU seconds used so far.
    """

    at: float
    metrics: dict[str, float]
    memory_mib: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rest:
    """What was still there after the load: requests waiting, slots held, requests under way, and whether it is healthy.

    Attributes:
        settled_s: how long it took until nothing was left, or until nobody waited any longer.
    """

    queue: int
    slots: int
    pending: int
    healthy: bool
    settled_s: float


@dataclass(frozen=True)
class Recording:
    """Everything one scenario recorded."""

    scenario: Scenario
    calibration: Calibration
    requests: list[RequestRow]
    snapshots: list[Snapshot]
    rest: Rest

    @property
    def began(self) -> float:
        """The moment at which the first request was due."""
        return self.requests[0].due


@dataclass(frozen=True)
class Verdict:
    """One criterion, judged. ``value`` is None where nothing could be measured: that is a failure too."""

    figure: str
    bound: str
    limit: float
    value: float | None
    passed: bool


class RequestTable:
    """The file ``requests.csv``, which gets a line whenever a request has ended."""

    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file)
        self._writer.writerow([column.name for column in dataclasses.fields(RequestRow)])

    def write(self, request: RequestRow) -> None:
        """Add a line."""
        self._writer.writerow(dataclasses.astuple(request))


def write_json(path: Path, content: Any) -> None:
    """Write a dataclass, or what holds dataclasses, as JSON."""
    path.write_bytes(TypeAdapter(type(content)).dump_json(content, indent=1) + b"\n")


def read_scenario(directory: Path) -> Scenario:
    """Read the plan that is carried out, from a scenario's directory."""
    return TypeAdapter(Scenario).validate_json((directory / SCENARIO).read_bytes())


def read_calibration(directory: Path) -> Calibration:
    """Read what the service can do, from a scenario's directory."""
    return TypeAdapter(Calibration).validate_json((directory / CALIBRATION).read_bytes())


def read_recording(directory: Path) -> Recording:
    """Read what was recorded in a scenario's directory, requests in the order in which they were due."""
    with (directory / REQUESTS).open(encoding="utf-8", newline="") as file:
        rows = [{**row, "retry_after_s": row["retry_after_s"] or None} for row in csv.DictReader(file)]
    requests = sorted(TypeAdapter(list[RequestRow]).validate_python(rows), key=lambda request: request.due)
    began, ended = requests[0].due - MARGIN_S, max(request.ended for request in requests) + MARGIN_S
    return Recording(
        read_scenario(directory),
        read_calibration(directory),
        requests,
        [one for one in _read_snapshots(directory / SAMPLES) if began <= one.at <= ended],
        TypeAdapter(Rest).validate_json((directory / REST).read_bytes()),
    )


def recorded(run: Path) -> list[Path]:
    """Return the directories of the scenarios that a run has finished, in the order of the plan, others behind."""
    finished = [path.parent for path in run.glob(f"*/{VERDICTS}")]
    order = {scenario.name: place for place, scenario in enumerate(scenarios("full"))}
    return sorted(finished, key=lambda directory: (order.get(directory.name, len(order)), directory.name))


def _read_snapshots(path: Path) -> Iterator[Snapshot]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield Snapshot(**json.loads(line))
