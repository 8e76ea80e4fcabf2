"""Tells whether the NPU can serve, as ``amanuensis doctor`` asks.

Checks the system, the driver, the device, a known-answer GEMM and the encoder against the CPU. The first check that
fails says what to do.
"""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from npu_encoder.backend import EncoderBackend
from npu_encoder.bfloat16 import to_bfloat16
from npu_encoder.errors import NoKernelError, PoisonedOutputError
from npu_encoder.loading import load_backend
from npu_encoder.npu.driver import Driver, load_driver
from npu_encoder.npu.gemm import GemmWeight, NumpyGemm
from npu_encoder.npu.kernels import Kernel, capacity, read_kernels
from npu_encoder.npu.xrt import XrtBackend, write_simulated_kernels
from npu_encoder.npu.xrt_gemm import XrtGemm
from npu_encoder.weights import read_dimensions

DEVICE_NODE = Path("/dev/accel/accel0")
MIN_LINUX = (6, 10)

# Against the float32 encoder, over a whole window.
MIN_COSINE = {"int8": 0.99, "bf16": 0.999}
CHECK_FRAMES = 800


@dataclass(frozen=True, slots=True)
class Observation:
    """What one check found. What is not fine may explain a failure further down; it is none by itself."""

    text: str
    is_fine: bool = True


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


def examine_npu(question: Question) -> Iterator[Observation]:
    """Check everything, from the system up to the encoder; yield what each check found, as soon as it is known.

    Raises:
        EncoderError: at the first check that fails for good; says what to do.
    """
    with ExitStack() as resources:
        if not question.simulator:
            yield from _describe_system()
        driver = load_driver(simulator=question.simulator)
        yield Observation(f"driver: {'simulator' if driver.simulated else driver.xrt.__file__}")
        directory = question.kernels
        if directory is None and driver.simulated:
            directory = Path(resources.enter_context(TemporaryDirectory()))
            write_simulated_kernels(directory, read_dimensions(question.model))
        kernels = _read_kernels(directory, driver)
        yield Observation(f"kernels: {len(kernels)} in {len({kernel.xclbin_sha256 for kernel in kernels})} xclbins")

        executor = XrtGemm(driver, kernels)
        resources.callback(executor.close)
        yield Observation(f"device: {executor.device_name}")
        precisions = sorted({kernel.precision for kernel in kernels})
        for precision in precisions:
            _check_gemm(executor, next(kernel for kernel in kernels if kernel.precision == precision))
            yield Observation(f"known-answer GEMM in {precision}")
        for precision in precisions:
            backend = XrtBackend(question.model, executor, precision=precision)
            cosine = _check_encoder(question.model, backend, precision)
            yield Observation(f"encoder in {precision}: cosine to the CPU's float32 {cosine:.6f}")


def _describe_system() -> Iterator[Observation]:
    release = platform.release()
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    yield Observation(f"Linux {release}, {MIN_LINUX[0]}.{MIN_LINUX[1]} or later needed", version >= MIN_LINUX)
    accessible = os.access(DEVICE_NODE, os.R_OK | os.W_OK)
    yield Observation(f"{DEVICE_NODE} is {'' if accessible else 'missing or not '}accessible", accessible)
    memlock = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    unlimited = memlock == resource.RLIM_INFINITY
    yield Observation(f"memlock is {'unlimited' if unlimited else f'{memlock} bytes: set it to unlimited'}", unlimited)


def _read_kernels(directory: Path | None, driver: Driver) -> tuple[Kernel, ...]:
    if directory is None:
        raise NoKernelError("name the directory of the compiled kernels with --kernels: see npu_encoder/README.md")
    return read_kernels(directory, simulated=driver.simulated)


def _check_gemm(executor: XrtGemm, kernel: Kernel) -> None:
    """Small integers, which both precisions multiply exactly, on the device and on the host."""
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
        raise PoisonedOutputError(f"the kernel {kernel.name} multiplies wrongly: compile it again")


def _check_encoder(model: Path, backend: EncoderBackend, precision: str) -> float:
    cpu = load_backend(model, backend="openvino", precision="f32")
    n_mels = cpu.dimensions.n_mels
    # Rising tones over a noise floor, within the range of a log-mel spectrogram.
    mels, frames = np.mgrid[:n_mels, : min(CHECK_FRAMES, cpu.dimensions.max_frames)].astype(np.float32)
    log_mel = np.sin(0.3 * mels + 0.05 * frames) * np.exp(-mels / n_mels) - 0.4
    states = [_encode(encoder, np.ascontiguousarray(log_mel, np.float32)) for encoder in (backend, cpu)]
    cpu.close()
    cosine = float(np.vdot(*states) / np.prod([np.linalg.norm(state) for state in states]))
    if not cosine >= MIN_COSINE[precision]:
        raise PoisonedOutputError(
            f"the encoder in {precision} differs from the CPU's: cosine {cosine:.6f}, at least {MIN_COSINE[precision]}"
        )
    return cosine


def _encode(backend: EncoderBackend, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
    states = np.empty((log_mel.shape[1] // 2, backend.dimensions.d_model), np.float32)
    backend.encode([log_mel], [states])
    return states
