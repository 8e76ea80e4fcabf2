"""What a check finds wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from npu_encoder.doctor.machine import Machine


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Something that is wrong with a machine.

    Attributes:
        name: a short name, for tests and for people who ask for help: ``iommu-off``.
        cause: a sentence that says what is wrong.
        next_step: the command to type next, or what to do where there is none.
        is_fatal: whether the NPU cannot work like this; otherwise it is good to know.
    """

    name: str
    cause: str
    next_step: str
    is_fatal: bool = True

    def __str__(self) -> str:
        return f"{self.cause}. Next: {self.next_step}"


Check: TypeAlias = Callable[[Machine], Diagnosis | None]
"""Looks for one thing that may be wrong; None means that it is not."""
