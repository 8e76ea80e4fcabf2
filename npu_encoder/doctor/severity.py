"""How bad is what a check found."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is, as the doctor prints it. With a fatal one the service, or its NPU, does not work."""

    FINE = "ok"
    NOTE = "NOTE"
    FATAL = "FAILED"
