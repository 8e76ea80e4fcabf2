"""The interface of every device that runs the encoder, and the checks that the devices share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from npu_encoder.errors import EncoderError, InvalidWindowError
from npu_encoder.weights import EncoderDimensions

HealthStatus = Literal["healthy", "degraded", "failed"]


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """The state of a device: what it can still do.

    Attributes:
        status: ``degraded`` if part of the device failed, or another one encodes in its place; ``failed`` if it cannot
            encode.
        reason: a sentence that says what happened; None if nothing did.
        recoveries: number of failures after which the device works again.
    """

    status: HealthStatus
    reason: str | None = None
    recoveries: int = 0


HEALTHY: Final = DeviceHealth("healthy")


class WindowArrays(Protocol):
    """The arrays of one window: what is encoded, and where the result goes."""

    @property
    def log_mel(self) -> NDArray[np.float32]:
        """The input: ``[n_mels, frames]``, C-contiguous."""
        ...

    @property
    def states(self) -> NDArray[np.float32]:
        """The place for the result: ``[frames / 2, d_model]``, C-contiguous and writeable."""
        ...


AnyArrays = TypeVar("AnyArrays", bound=WindowArrays)


class EncoderBackend(Protocol):
    """Whisper's encoder on one device.

    The states of a window never depend on what else is in the batch, to the last bit, so a transcript is
    the same alone and under load. ``encode`` may be called from several threads.
    """

    @property
    def device(self) -> str:
        """The device that computes, and how: ``cpu:openvino-bf16``."""
        ...

    @property
    def dimensions(self) -> EncoderDimensions:
        """The size of the model."""
        ...

    @property
    def health(self) -> DeviceHealth:
        """The state of the device."""
        ...

    def encode(self, log_mels: Sequence[NDArray[np.float32]], states: Sequence[NDArray[np.float32]]) -> str:
        """Encode a batch of windows in place. The GIL is released meanwhile.

        Args:
            log_mels: one ``[n_mels, frames]`` per window, C-contiguous; ``frames`` may differ between windows.
            states: one ``[frames / 2, d_model]`` per window, C-contiguous and writeable; receives the result.

        Returns:
            The device that computed, as ``device`` names it.

        Raises:
            InvalidWindowError: if an array does not fit the model; nothing has been computed then.
            DeviceError: if the device failed; the states are worthless then.
        """
        ...

    def encode_each(
        self, waiting: Callable[[], AnyArrays | None], at_most: int
    ) -> Iterator[tuple[AnyArrays, str | EncoderError]]:
        """Encode windows as they come, until none waits and none is in progress.

        Args:
            waiting: takes the next window, or returns None if none waits now; called whenever there is room for one.
            at_most: windows in progress at a time; a device that gains nothing from company works on fewer.

        Yields:
            A window as soon as it is done, with the device that computed it, or with the error that ``encode`` would
            have raised. Neighbours that had nothing to do with the error go on.
        """
        ...

    def probe_device(self) -> None:
        """Find out whether the device still works; ``health`` says so afterwards. Cheap; not beside other work."""
        ...

    def warm_up(self, frames: Sequence[int]) -> None:
        """Pay now what the first window of each of these lengths would have to pay."""
        ...

    def close(self) -> None:
        """Release the device; the backend must not be used afterwards."""
        ...


def check_windows(
    dimensions: EncoderDimensions,
    log_mels: Sequence[NDArray[np.float32]],
    states: Sequence[NDArray[np.float32]],
) -> None:
    """Check the arrays that ``EncoderBackend.encode`` was given.

    Raises:
        InvalidWindowError: names the first array that does not fit, and how.
    """
    if len(log_mels) != len(states):
        raise InvalidWindowError(f"There are {len(log_mels)} log-mels but {len(states)} arrays for their states")
    for index, (log_mel, output) in enumerate(zip(log_mels, states, strict=True)):
        _check_log_mel(f"log_mels[{index}]", log_mel, dimensions)
        _check_array(f"states[{index}]", output, (log_mel.shape[1] // 2, dimensions.d_model))
        if not output.flags.writeable:
            raise InvalidWindowError(f"The array states[{index}] is read-only, but it has to receive the result")


def encode_one_by_one(
    backend: EncoderBackend, waiting: Callable[[], AnyArrays | None]
) -> Iterator[tuple[AnyArrays, str | EncoderError]]:
    """Do what ``encode_each`` has to, for a backend that works on one window at a time."""
    for window in iter(waiting, None):
        outcome: str | EncoderError
        try:
            outcome = backend.encode([window.log_mel], [window.states])
        except EncoderError as error:
            outcome = error
        yield window, outcome


def encode_silence(backend: EncoderBackend, frames: Sequence[int]) -> None:
    """Encode one silent window of each length, so that ``backend`` is warm for them."""
    n_mels, d_model = backend.dimensions.n_mels, backend.dimensions.d_model
    for length in frames:
        log_mel = np.zeros((n_mels, length), np.float32)
        backend.encode([log_mel], [np.empty((length // 2, d_model), np.float32)])


def _check_log_mel(name: str, log_mel: NDArray[np.float32], dimensions: EncoderDimensions) -> None:
    frames = log_mel.shape[-1] if log_mel.ndim else 0
    _check_array(name, log_mel, (dimensions.n_mels, frames))
    if frames % 2 or not 0 < frames <= dimensions.max_frames:
        raise InvalidWindowError(
            f"The array {name} has {frames} frames, but the model takes an even number up to {dimensions.max_frames}"
        )


def _check_array(name: str, array: NDArray[np.float32], shape: tuple[int, int]) -> None:
    if array.shape != shape or array.dtype != np.float32:
        raise InvalidWindowError(f"The array {name} is {array.dtype} {array.shape} instead of float32 {shape}")
    if not array.flags.c_contiguous:
        raise InvalidWindowError(f"The array {name} is not C-contiguous: copy it with numpy.ascontiguousarray")
