"""Recording one scenario: start what it needs, watch, wait until the service is at rest, judge."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from loadtests.common.cpu_time import LOAD_GENERATOR
from loadtests.common.machine import machine_facts
from loadtests.common.paths import ROOT
from loadtests.common.service_process import Application, started
from loadtests.load.calibration import calibrate
from loadtests.load.scenarios.judgement import judge_recording
from loadtests.load.scenarios.plan import Edition, Scenario
from loadtests.load.scenarios.recording import (
    CALIBRATION,
    MANIFEST,
    REST,
    SAMPLER,
    SAMPLES,
    SCENARIO,
    VERDICTS,
    Verdict,
    read_recording,
    write_json,
)
from loadtests.load.scenarios.sampling import Sampler, wait_until_settled
from loadtests.load.scenarios.traffic import mean_audio_s
from loadtests.load.subject import Subject


def record_own_service(scenario: Scenario, directory: Path, subject: Subject) -> list[Verdict]:
    """Do as ``record`` does, on a service that is started for it and stopped afterwards. Its log is kept too."""
    directory.mkdir(parents=True, exist_ok=True)
    settings = {**scenario.settings, "failure_log_dir": str((directory / "failures").absolute())}
    with started([Application("amanuensis", "/", settings, model=subject.model)]) as service:
        try:
            return record(scenario, service.url, directory, subject, service.process)
        finally:
            shutil.copyfile(service.log, directory / "service.log")


def record(
    scenario: Scenario, url: str, directory: Path, subject: Subject, service: psutil.Process | None = None
) -> list[Verdict]:
    """Calibrate a running service, offer it the scenario's load, and write the raw results.

    Args:
        service: its launcher; without it nothing is recorded of memory and CPU.

    Raises:
        UnansweredError: the service did not even bear its calibration.
        subprocess.CalledProcessError: the generator failed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    speech = subject.speech
    calibration = calibrate(url, speech, speech.files if scenario.mix == "mixed" else ())
    write_json(directory / CALIBRATION, calibration)
    write_json(directory / SCENARIO, scenario.at(calibration, mean_audio_s(scenario.mix, speech)))
    _offer(url, directory, subject, service)
    write_json(directory / REST, wait_until_settled(url))
    verdicts = judge_recording(read_recording(directory))
    write_json(directory / VERDICTS, verdicts)
    return verdicts


def _offer(url: str, directory: Path, subject: Subject, service: psutil.Process | None) -> None:
    """Run the generator, and sample the service meanwhile."""
    command = [sys.executable, "-m", "loadtests.load.scenarios.generator", url, str(directory), *subject.arguments]
    with subprocess.Popen(command, cwd=ROOT) as generator:
        others = {LOAD_GENERATOR: psutil.Process(generator.pid), SAMPLER: psutil.Process()}
        sampler = Sampler(url, directory / SAMPLES, service, others)
        sampler.start()
        status = generator.wait()
        sampler.stop()
    if status:
        raise subprocess.CalledProcessError(status, command)


def write_manifest(directory: Path, edition: Edition, subject: Subject) -> None:
    """Write what the results of this run are results of. A run made in pieces keeps what the first piece wrote."""
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / MANIFEST).exists():
        return
    manifest: dict[str, Any] = {
        **machine_facts("locust"),
        "edition": edition,
        "model": Path(subject.model).name,
        "speech": "human" if subject.corpus else "synthetic",
    }
    write_json(directory / MANIFEST, manifest)
