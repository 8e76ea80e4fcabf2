"""Errors of the simulator that the real module cannot raise: each stands for something worse."""

from __future__ import annotations


class StrictnessError(Exception):
    """In strict mode: the real module or device would have gone on and produced something wrong."""


class ProcessCrashError(BaseException):
    """The real module would have ended the process with a segmentation fault here."""
