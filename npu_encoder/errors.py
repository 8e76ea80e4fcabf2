"""What can go wrong in this package, for the operator: messages may name paths and devices."""

from __future__ import annotations


class EncoderError(Exception):
    """Base of all errors of this package."""


class ModelFormatError(EncoderError):
    """The model directory holds no Whisper model that this package can read."""


class UnsupportedPrecisionError(EncoderError):
    """The device cannot compute in the precision asked for."""


class InvalidWindowError(EncoderError, ValueError):
    """A window's log-mel or states array does not fit the model."""
