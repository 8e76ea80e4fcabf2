"""Tell whether the service can run on this machine.

Checks what "amanuensis serve CONFIG" would meet: settings, model, memory, ports; and the NPU, where the configuration
or an option asks for it. Where the NPU fails, the first cause is told first, with what to type next. The exit status is
1 if the service would not start.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from deployments.commands.configuration import CONFIG, Configuration, read_configuration
from deployments.commands.errors import CommandError
from deployments.commands.machine import (
    Finding,
    check_cores,
    check_memory,
    check_model,
    check_ports,
    check_python,
    check_settings,
    check_shared_memory,
)
from npu_encoder.doctor.diagnosis import diagnose
from npu_encoder.doctor.examination import Question, examine_npu
from npu_encoder.doctor.machine import LocalMachine
from npu_encoder.doctor.recording import Recorder
from npu_encoder.doctor.severity import Severity
from npu_encoder.errors import EncoderError

FILE = click.Path(dir_okay=False, path_type=Path)
DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
SIMULATED = "the NPU is SIMULATED: this proves nothing about hardware"


@click.command(help=__doc__)
@CONFIG
@click.option("--model", help="A size name, a hub id or a directory, instead of the configured model.")
@click.option("--kernels", type=DIRECTORY, help="Directory of the NPU's compiled kernels; checks the NPU.")
@click.option("--simulator", is_flag=True, help="Check the simulated NPU instead of the hardware.")
@click.option(
    "--record", type=FILE, help="Only write down what the checks of the NPU read of this machine, for others."
)
def command(
    config: Path | None, model: str | None, kernels: Path | None, record: Path | None, *, simulator: bool
) -> None:
    """Run all checks, and say what they find."""
    if record is not None:
        recorder = Recorder(LocalMachine())
        diagnose(recorder)
        record.write_text(recorder.record, encoding="utf-8")
        click.echo(f"{record} holds what was read; look through it before you send it")
        return
    failed = 0
    for finding in findings(read_configuration(config), model, kernels, simulator=simulator):
        failed += finding.severity is Severity.FATAL
        click.echo(f"{finding.severity:<8}{finding.text}")
    if failed:
        raise CommandError("The service cannot run like this; see what failed above")


def findings(config: Configuration, model: str | None, kernels: Path | None, *, simulator: bool) -> Iterator[Finding]:
    """Yield what every check finds, as soon as it is known.

    Args:
        config: what is to be served.
        model: instead of the model of every application; None: none.
        kernels: of the NPU, instead of those of every application; None: none. Checks the NPU in any case.
        simulator: check the simulated NPU in any case.
    """
    yield check_python()
    yield check_cores()
    yield check_memory()
    about_settings, all_settings = check_settings(config)
    yield about_settings
    for settings in all_settings:
        about_model, found = check_model(model or settings.whisper_model)
        yield about_model
        yield check_shared_memory(settings, found)
        if kernels is None and not simulator and settings.device == "cpu":
            yield Finding(Severity.FINE, "the encoder runs on the CPU; --kernels DIR checks an NPU")
        elif found is not None:
            simulated = simulator or (settings.npu_simulator and kernels is None)
            yield from _check_npu(Question(found.path, kernels or settings.npu_kernels, simulated))
    yield from check_ports(config)


def _check_npu(question: Question) -> Iterator[Finding]:
    try:
        for observation in examine_npu(question, LocalMachine()):
            yield Finding(observation.severity, observation.text)
    except EncoderError as error:
        yield Finding(Severity.FATAL, f"{type(error).__name__}: {error}")
    else:
        if question.simulator:
            yield Finding(Severity.NOTE, SIMULATED)
