"""One small load test, against the running service."""

from __future__ import annotations

import sys
from pathlib import Path

from loadtests.load.report.page import page
from loadtests.load.report.run import read_run
from loadtests.load.scenarios.judgement import FIGURES
from loadtests.load.scenarios.plan import Phase, Scenario, at_most
from loadtests.load.scenarios.recording import read_recording
from loadtests.load.scenarios.runner import record, write_manifest
from loadtests.load.subject import Subject

CRITERIA = tuple(at_most(figure, 0) for figure in ("wrong", "errors", "refused", "left_over"))


def test_a_small_load_is_offered_recorded_and_judged(service: str, tmp_path: Path) -> None:
    plan = Scenario("steady", "Is it well?", (Phase("5/s", 5.0, 4.0),), CRITERIA, mix="priorities", max_in_flight=20)
    subject = Subject()
    write_manifest(tmp_path, "short", subject)
    verdicts = record(plan, service, tmp_path / plan.name, subject)
    assert [(verdict.figure, verdict.value) for verdict in verdicts] == [(one.figure, 0) for one in CRITERIA]
    recording = read_recording(tmp_path / plan.name)
    assert FIGURES["answered"].compute(recording) == 20
    assert {request.priority for request in recording.requests} == {"high", "normal", "low"}
    offered = FIGURES["offered_ratio"].compute(recording)
    assert offered is not None
    assert 0.8 < offered < 1.2
    assert FIGURES["encoder_batch"].compute(recording) is not None, "the service's metrics were sampled"
    assert "20 of 20 answered right" in page(read_run(tmp_path))
    assert "gevent" not in sys.modules, "it must stay in the generator's process"
