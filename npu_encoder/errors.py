"""The errors of this package. Operators read their messages, which may name paths and devices."""

from __future__ import annotations


class EncoderError(Exception):
    """The base of all errors of this package."""


class ModelFormatError(EncoderError):
    """The model directory holds no Whisper model that this package can read."""


class UnsupportedPrecisionError(EncoderError):
    """The device cannot compute in the precision asked for."""


class InvalidWindowError(EncoderError, ValueError):
    """A window's log-mel or states array does not fit the model."""


class DeviceError(EncoderError):
    """The NPU did not do what it was asked; what it computed has been dropped. Trying again may succeed."""


class DeviceTimeoutError(DeviceError):
    """A run did not end in time, or the driver killed it."""


class DeviceAbortError(DeviceError):
    """A run was aborted by the driver, or given up because another run on the same context failed."""


class DeviceLostError(DeviceError):
    """The device cannot be opened, or is gone."""


class DeviceBusyError(DeviceError):
    """The device has no hardware context left."""


class DeviceMemoryError(DeviceError):
    """The device, or the memory that may be locked for it, has no room for a buffer."""


class DriverMismatchError(DeviceError):
    """pyxrt or the kernel does not take what it is given: another version than this package was written for."""


class PoisonedOutputError(DeviceError):
    """A run claims to be complete, but its known-answer rows are wrong."""


class DeviceFailedError(DeviceError):
    """The device has failed for good: rebuilding its contexts did not help, and trying again is useless."""


class InaccurateError(EncoderError):
    """The encoder on the device differs from the CPU's by more than its precision explains."""


class NoKernelError(EncoderError):
    """No compiled kernel fits the model, or a kernel's files cannot be trusted."""


class ProviderError(EncoderError):
    """A runtime does not have the device or provider that it is told to use, or that computes no whole encoder."""


class ToolchainError(EncoderError):
    """The compiler of kernels is not installed as it should be, or failed."""


class InvalidScenarioError(EncoderError):
    """The file that describes the simulated device cannot be used."""


class DriverMissingError(EncoderError):
    """pyxrt cannot be imported; the message says how to install it."""
