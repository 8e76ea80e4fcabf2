"""The NPU, and the CPU in its place once the NPU has failed for good. An operator has to choose this."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from npu_encoder.backend import AnyArrays, DeviceHealth, EncoderBackend
from npu_encoder.errors import DeviceError, DeviceFailedError, DriverMissingError, EncoderError, NoKernelError
from npu_encoder.weights import EncoderDimensions

logger = logging.getLogger(__name__)


class FailoverBackend:
    """The encoder on the NPU until that fails for good, from then on on the CPU; ``device`` and ``health`` say which.

    Errors after which the NPU may recover are raised as they are: the caller tries again.

    Args:
        open_npu: opens the NPU and returns its backend.
        cpu: the backend that takes over; loaded already, so that nobody waits for it when it is needed.
    """

    def __init__(self, open_npu: Callable[[], EncoderBackend], cpu: EncoderBackend) -> None:
        self._cpu = cpu
        self._npu: EncoderBackend | None = None
        self._failure: str | None = None
        try:
            self._npu = open_npu()
        except (DeviceError, DriverMissingError, NoKernelError) as error:
            self._give_up(error)

    @property
    def device(self) -> str:
        return self._active.device

    @property
    def dimensions(self) -> EncoderDimensions:
        return self._cpu.dimensions

    @property
    def health(self) -> DeviceHealth:
        if self._failure is None:
            return self._active.health
        return DeviceHealth("degraded", f"The CPU encodes in place of the NPU, which has failed: {self._failure}")

    def encode(self, log_mels: Sequence[NDArray[np.float32]], states: Sequence[NDArray[np.float32]]) -> str:
        try:
            return self._active.encode(log_mels, states)
        except DeviceFailedError as error:
            self._give_up(error)
        return self._cpu.encode(log_mels, states)

    def encode_each(
        self, waiting: Callable[[], AnyArrays | None], at_most: int
    ) -> Iterator[tuple[AnyArrays, str | EncoderError]]:
        if self._npu is not None and self._failure is None:
            yield from self._on_npu(self._npu, waiting, at_most)
        if self._failure is not None:
            yield from self._cpu.encode_each(waiting, at_most)

    def _on_npu(
        self, npu: EncoderBackend, waiting: Callable[[], AnyArrays | None], at_most: int
    ) -> Iterator[tuple[AnyArrays, str | EncoderError]]:
        """Encode until none waits or the NPU has failed; what it had begun by then is begun anew on the CPU."""
        windows = npu.encode_each(lambda: waiting() if self._failure is None else None, at_most)
        for window, outcome in windows:
            if isinstance(outcome, DeviceFailedError):
                self._give_up(outcome)
                yield window, self._cpu.encode([window.log_mel], [window.states])
            else:
                yield window, outcome

    def probe_device(self) -> None:
        if self._npu is None or self._failure is not None:
            return
        self._npu.probe_device()
        health = self._npu.health
        if health.status == "failed":
            self._give_up(health.reason)

    def warm_up(self, frames: Sequence[int]) -> None:
        self._cpu.warm_up(frames)
        try:
            self._active.warm_up(frames)
        except DeviceError as error:
            self._give_up(error)

    def close(self) -> None:
        for backend in (self._npu, self._cpu):
            if backend is not None:
                backend.close()

    @property
    def _active(self) -> EncoderBackend:
        return self._npu if self._npu is not None and self._failure is None else self._cpu

    def _give_up(self, reason: object) -> None:
        if self._failure is None:
            logger.error("The NPU has failed, the CPU encodes from now on: %s", reason)
        self._failure = str(reason)
