"""Small recordings of load tests, made up: the service computes for ``SERVICE_S`` and has one slot in use."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from loadtests.load.calibration import Calibration
from loadtests.load.scenarios.counters import STAGES
from loadtests.load.scenarios.judgement import judge_recording
from loadtests.load.scenarios.plan import Phase, Scenario
from loadtests.load.scenarios.recording import (
    CALIBRATION,
    MANIFEST,
    REQUESTS,
    REST,
    SAMPLES,
    SCENARIO,
    VERDICTS,
    Recording,
    RequestRow,
    RequestTable,
    Rest,
    Snapshot,
    write_json,
)
from loadtests.load.scenarios.schedule import due_times

EPOCH = 1_700_000_000.0
SERVICE_S = 0.1
CALIBRATED = Calibration({"a": "one"}, {"a": SERVICE_S}, request_s=SERVICE_S, capacity=10.0, mean_clip_s=5.0)
SETTLED = Rest(queue=0, slots=0, pending=0, healthy=True, settled_s=0.1)


def scenario(name: str = "steady", *phases: Phase, **changes: object) -> Scenario:
    plan = Scenario(name, "Is it a test?", phases or (Phase("10/s", 10.0, 20.0),), ())
    return dataclasses.replace(plan, **changes)  # type: ignore[arg-type]


def request(due_s: float, *, phase: str = "10/s", **changes: object) -> RequestRow:
    one = RequestRow(
        phase, EPOCH + due_s, EPOCH + due_s, SERVICE_S, "a", "short", "plain", "normal", 200, "right", "", None
    )
    return dataclasses.replace(one, **changes)  # type: ignore[arg-type]


def requests(plan: Scenario) -> list[RequestRow]:
    """Return all requests of the plan, on time and answered."""
    return [request(offset, phase=phase.name) for phase, offset in due_times(plan.phases)]


def snapshots(seconds: float, *, mib_a_second: float = 0.0) -> list[Snapshot]:
    """Return one per second of a half busy service that answers ten requests per second and lets one in ten wait."""
    return [_snapshot(at, mib_a_second) for at in range(int(seconds) + 1)]


def _snapshot(at: int, mib_a_second: float) -> Snapshot:
    bucket = "amanuensis_queue_wait_seconds_bucket"
    stages = {
        name: value
        for stage in STAGES
        for name, value in (
            (f'amanuensis_stage_busy_seconds_total{{stage="{stage}"}}', 0.5 * at),
            (f'amanuensis_stage_batches_total{{stage="{stage}"}}', 5.0 * at),
            (f'amanuensis_stage_run_seconds_count{{stage="{stage}"}}', 10.0 * at),
        )
    }
    metrics = {
        f'{bucket}{{le="0.001"}}': 9.0 * at,
        f'{bucket}{{le="0.1"}}': 10.0 * at,
        f'{bucket}{{le="+Inf"}}': 10.0 * at,
        "amanuensis_queue_wait_seconds_count": 10.0 * at,
        "amanuensis_slot_waits_total": 1.0 * at,
        "amanuensis_slots_in_use": 1.0,
        "amanuensis_queue_size": 0.0,
        **stages,
    }
    memory = {"Encoder": 100.0 + mib_a_second * at, "Ray": 50.0}
    return Snapshot(EPOCH + at, metrics, memory, {"Encoder": 0.5 * at, "load generator": 0.2 * at})


def recording(
    plan: Scenario,
    sent: Iterable[RequestRow] | None = None,
    seen: Sequence[Snapshot] | None = None,
    rest: Rest = SETTLED,
) -> Recording:
    sent = requests(plan) if sent is None else list(sent)
    return Recording(plan, CALIBRATED, sent, snapshots(plan.seconds) if seen is None else list(seen), rest)


def write(run: Path, *recordings: Recording) -> Path:
    """Write a run's directory, as the runner leaves it."""
    run.mkdir(exist_ok=True)
    manifest = {
        "made": "2026-01-01 00:00 UTC",
        "edition": "short",
        "model": "base",
        "speech": "human",
        "commit": "abc1234",
        "changed_files": 0,
        "cores": 2,
        "memory_gib": 4.0,
        "cpu": "A <CPU>",
        "python": "3.11.0",
        "versions": {"ray": "2.60.0"},
    }
    (run / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    for one in recordings:
        _write(run / one.scenario.name, one)
    return run


def _write(directory: Path, one: Recording) -> None:
    directory.mkdir()
    write_json(directory / SCENARIO, one.scenario)
    write_json(directory / CALIBRATION, one.calibration)
    with (directory / REQUESTS).open("w", encoding="utf-8", newline="") as file:
        table = RequestTable(file)
        for ended in sorted(one.requests, key=lambda request: request.ended):
            table.write(ended)
    lines = [json.dumps(dataclasses.asdict(snapshot)) for snapshot in one.snapshots]
    (directory / SAMPLES).write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(directory / REST, one.rest)
    write_json(directory / VERDICTS, judge_recording(one))
