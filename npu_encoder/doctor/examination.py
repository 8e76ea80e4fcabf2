"""Tells whether the NPU can serve: the driver, the device, a known-answer GEMM and the encoder against the CPU.

Where the hardware fails, the machine is looked at, and what is the first cause is told first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from npu_encoder.bfloat16 import to_bfloat16
from npu_encoder.doctor.accuracy import compare_with_cpu
from npu_encoder.doctor.diagnosis import diagnose
from npu_encoder.doctor.finding import Diagnosis
from npu_encoder.doctor.machine import Machine
from npu_encoder.doctor.severity import Severity
from npu_encoder.doctor.switching import measure_switches
from npu_encoder.errors import DeviceError, DriverMissingError, EncoderError, NoKernelError, PoisonedOutputError
from npu_encoder.npu.driver import Driver, device_name, load_driver
from npu_encoder.npu.gemm import GemmWeight, NumpyGemm, Precision
from npu_encoder.npu.kernels import Kernel, capacity, read_kernels
from npu_encoder.npu.xrt import XrtBackend, write_simulated_kernels
from npu_encoder.npu.xrt_gemm import XrtGemm
from npu_encoder.weights import read_dimensions

NOTHING_FOUND = Diagnosis(
    "nothing-found",
    "Nothing is known to be wrong with this machine",
    "sudo dmesg | grep -i amdxdna    # and send what `amanuensis doctor --record machine.txt` writes",
    is_fatal=False,
)


@dataclass(frozen=True, slots=True)
class Observation:
    """What one check found."""

    text: str
    severity: Severity = Severity.FINE


@dataclass(frozen=True, slots=True)
class Question:
    """What the doctor is asked to check.

    Attributes:
        model: a CTranslate2 Whisper directory.
        kernels: the directory of the compiled kernels; None: there are none, which the simulator can do without.
        simulator: check the simulator instead of the hardware.
    """

    model: Path
    kernels: Path | None
    simulator: bool


def examine_npu(question: Question, machine: Machine) -> Iterator[Observation]:
    """Check everything, from the driver up to the encoder; yield what each check found, as soon as it is known.

    Args:
        question: what to check.
        machine: the machine that is looked at where the hardware fails.

    Raises:
        EncoderError: at the first check that fails for good; what is wrong with the machine was yielded before.
    """
    try:
        yield from _examine(question)
    except (DriverMissingError, DeviceError):
        if not question.simulator:
            yield from _causes(machine)
        raise
    except EncoderError:
        yield from _notes(question, machine)
        raise
    yield from _notes(question, machine)


def _notes(question: Question, machine: Machine) -> Iterator[Observation]:
    """Yield what may be wrong with a machine whose device works."""
    if not question.simulator:
        yield from (Observation(str(found), Severity.NOTE) for found in diagnose(machine))


def _causes(machine: Machine) -> Iterator[Observation]:
    """Yield what is wrong with a machine: the first cause is a failure, the others may be its consequences."""
    first, *others = diagnose(machine) or [NOTHING_FOUND]
    yield Observation(str(first), Severity.FATAL if first.is_fatal else Severity.NOTE)
    yield from (Observation(str(found), Severity.NOTE) for found in others)


def _examine(question: Question) -> Iterator[Observation]:
    driver = load_driver(simulator=question.simulator)
    yield Observation(f"driver: {'simulator' if driver.simulated else driver.xrt.__file__}")
    yield Observation(f"device: {device_name(driver)}")
    with ExitStack() as resources:
        directory = question.kernels
        if directory is None and driver.simulated:
            directory = Path(resources.enter_context(TemporaryDirectory()))
            write_simulated_kernels(directory, read_dimensions(question.model))
        kernels = _read_kernels(directory, driver)
        yield Observation(f"kernels: {len(kernels)} in {len({kernel.xclbin_sha256 for kernel in kernels})} xclbins")
        if not driver.simulated:
            yield Observation(f"contexts: {measure_switches(driver, kernels)}")
        for precision in sorted({kernel.precision for kernel in kernels}):
            yield from _examine_precision(question.model, driver, kernels, precision)


def _examine_precision(
    model: Path, driver: Driver, kernels: Sequence[Kernel], precision: Precision
) -> Iterator[Observation]:
    """Check one precision on its own: together they may need more contexts than the device has."""
    kernel = next(kernel for kernel in kernels if kernel.precision == precision)
    executor = XrtGemm(driver, kernels)
    with ExitStack() as resources:
        resources.callback(executor.close)
        _check_gemm(executor, kernel)
        yield Observation(f"known-answer GEMM in {precision}")
        backend = XrtBackend(model, executor, precision=precision)
        yield Observation(f"encoder in {precision}: {compare_with_cpu(model, backend, kernel)}")


def _read_kernels(directory: Path | None, driver: Driver) -> tuple[Kernel, ...]:
    if directory is None:
        raise NoKernelError(
            "Name the directory of the compiled kernels with --kernels: `amanuensis npu build` makes it"
        )
    return read_kernels(directory, simulated=driver.simulated)


def _check_gemm(executor: XrtGemm, kernel: Kernel) -> None:
    """Multiply small integers, which are exact in every precision, on the device and on the host."""
    random = np.random.default_rng(0)
    x, w = (
        random.integers(-8, 9, shape).astype(np.float32)
        for shape in ((capacity(kernel), kernel.k), (kernel.k, kernel.n))
    )
    activations, values = (
        to_bfloat16(operand) if kernel.precision == "bf16" else operand.astype(np.int8) for operand in (x, w)
    )
    weight = GemmWeight(f"doctor/{kernel.precision}", values, kernel.precision)
    host = NumpyGemm()
    executor.load(weight)
    host.load(weight)
    product = executor.start(weight.name, activations).result()
    if not np.array_equal(product, host.start(weight.name, activations).result()):
        raise PoisonedOutputError(f"The kernel {kernel.name} multiplies wrongly: compile it again")
