"""Errors that only the simulator raises: the real module would do something worse."""

from __future__ import annotations


class StrictnessError(Exception):
    """The real module or device would have gone on and produced something wrong. Raised only in strict mode."""


class ProcessCrashError(BaseException):
    """The real module would have ended the process with a segmentation fault here."""
