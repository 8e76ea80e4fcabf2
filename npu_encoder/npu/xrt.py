"""The encoder on an AMD XDNA NPU: linear layers on the device, the rest on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from npu_encoder.backend import AnyArrays, DeviceHealth, check_windows, encode_silence
from npu_encoder.errors import EncoderError, NoKernelError, UnsupportedPrecisionError
from npu_encoder.npu.audio_encoder import PLANS, AudioEncoder, LayerPlan, PlanName
from npu_encoder.npu.driver import Driver
from npu_encoder.npu.kernels import read_kernels
from npu_encoder.npu.xrt_gemm import XrtGemm
from npu_encoder.weights import EncoderDimensions, read_dimensions, read_weights

DEFAULT_PLAN: PlanName = "bf16"
MIN_WINDOWS_IN_PROGRESS = 6
"""Four products wait on the device or compute there, and two windows keep it so while the host is at a long step."""

SIMULATED_FRAMES = (400, 800, 1600, 3000)
"""Window lengths, in mel frames, that simulated kernels are made for; any other is padded to the next."""


class XrtBackend:
    """``AudioEncoder`` over ``XrtGemm``.

    A device error fails the windows that were on the same context, and the call of ``encode`` they belong to; the
    context is rebuilt meanwhile, so the next call may succeed. ``health`` tells whether trying again is of use. Nothing
    ever falls back to the CPU here.

    Args:
        model_dir: CTranslate2 Whisper directory.
        executor: the device; closed with the backend.
        precision: the name of a plan in ``PLANS``, or ``auto``.
        silence: as for ``load_backend``.

    Raises:
        ModelFormatError: if the directory holds no readable Whisper model, or ``silence`` belongs to another one.
        UnsupportedPrecisionError: if there is no such plan.
        NoKernelError: if a layer fits no kernel.
        DeviceError: if the device does not work.
    """

    def __init__(
        self, model_dir: Path, executor: XrtGemm, *, precision: str = "auto", silence: Path | None = None
    ) -> None:
        plan = _plan(precision)
        self._resources = ExitStack()
        self._executor = executor
        self._resources.callback(executor.close)
        # One window's product computes in each context while the host works on another one's.
        in_progress = max(MIN_WINDOWS_IN_PROGRESS, 2 * executor.n_contexts)
        weights = read_weights(model_dir, silence)
        self._encoder = AudioEncoder(weights, executor, plan, windows_in_progress=in_progress)

    @classmethod
    def open(
        cls,
        model_dir: Path,
        driver: Driver,
        kernels: Path | None,
        *,
        precision: str = "auto",
        n_contexts: int = 1,
        silence: Path | None = None,
    ) -> XrtBackend:
        """Open the device with the kernels of a directory.

        Args:
            model_dir: CTranslate2 Whisper directory.
            driver: the result of ``load_driver``.
            kernels: directory of the kernels compiled for the model; None makes simulated ones, for the simulator.
            precision: the name of a plan, or ``auto``.
            n_contexts: hardware contexts per xclbin.
            silence: as for ``load_backend``.

        Raises:
            EncoderError: for the same reasons as the class.
        """
        _plan(precision)
        with ExitStack() as resources:
            if kernels is None and driver.simulated:
                kernels = Path(resources.enter_context(TemporaryDirectory(prefix="simulated-kernels-")))
                write_simulated_kernels(kernels, read_dimensions(model_dir))
            if kernels is None:
                raise NoKernelError(
                    "The NPU needs compiled kernels: make them with `amanuensis npu build`, and name their directory"
                )
            executor = XrtGemm(driver, read_kernels(kernels, simulated=driver.simulated), n_contexts=n_contexts)
            resources.callback(executor.close)
            backend = cls(model_dir, executor, precision=precision, silence=silence)
            backend._resources.push(resources.pop_all())
        return backend

    @property
    def device(self) -> str:
        return self._executor.device

    @property
    def dimensions(self) -> EncoderDimensions:
        return self._encoder.dimensions

    @property
    def health(self) -> DeviceHealth:
        return self._executor.health

    def encode(self, log_mels: Sequence[NDArray[np.float32]], states: Sequence[NDArray[np.float32]]) -> str:
        check_windows(self.dimensions, log_mels, states)
        self._encoder.encode(log_mels, states)
        return self.device

    def encode_each(
        self, waiting: Callable[[], AnyArrays | None], at_most: int
    ) -> Iterator[tuple[AnyArrays, str | EncoderError]]:
        for window, error in self._encoder.encode_each(waiting, at_most):
            yield window, error or self.device

    def probe_device(self) -> None:
        self._executor.probe_device()

    def warm_up(self, frames: Sequence[int]) -> None:
        encode_silence(self, frames)

    def close(self) -> None:
        self._resources.close()


def write_simulated_kernels(directory: Path, dimensions: EncoderDimensions) -> None:
    """Write kernels for the simulator, enough for every window of a model in every precision."""
    from npu_encoder.simulator.kernels import kernels_for, write_kernels  # noqa: PLC0415

    frames = {min(frames, dimensions.max_frames) for frames in SIMULATED_FRAMES}
    write_kernels(directory, kernels_for(dimensions, sorted(frames)))


def _plan(precision: str) -> LayerPlan:
    plans = {"auto": PLANS[DEFAULT_PLAN]} | {str(name): plan for name, plan in PLANS.items()}
    if precision not in plans:
        raise UnsupportedPrecisionError(f"The NPU's precision is one of {tuple(plans)}, not {precision!r}")
    return plans[precision]
