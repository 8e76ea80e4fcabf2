"""The time that passes while a device works: the machine's, or a simulated device's own."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The functions of the module ``time`` that the driver of a device needs."""

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary moment."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Return once ``seconds`` have passed."""
        ...
