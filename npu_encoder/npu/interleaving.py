"""Several windows in progress at a time: while the device multiplies for one, the host works on another."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeAlias, TypeVar

from npu_encoder.backend import AnyArrays
from npu_encoder.errors import EncoderError
from npu_encoder.npu.gemm import GemmOutput, PendingGemm

Result = TypeVar("Result")

Steps: TypeAlias = Generator[PendingGemm, GemmOutput, Result]
"""Work on one window: it yields each product that it has started, is sent its values, and returns a result."""


def interleave(
    work_on: Callable[[AnyArrays], Steps[None]], waiting: Callable[[], AnyArrays | None], at_most: int
) -> Iterator[tuple[AnyArrays, EncoderError | None]]:
    """Work on windows as they come, on each until its next product is on the device.

    Args:
        work_on: begins the work on one window.
        waiting: takes the next window, or returns None if none waits now; called whenever there is room for one.
        at_most: windows in progress at a time.

    Yields:
        A window as soon as its work is over, with the error that ended it, or None where all went well.
    """
    running: list[_InProgress[AnyArrays]] = []
    while True:
        while len(running) < at_most and (window := waiting()) is not None:
            running.append(_InProgress(window, work_on(window)))
        if not running:
            return
        # Where none is ready, the one that has waited longest: the device works in order.
        item = running.pop(next((index for index, item in enumerate(running) if item.ready()), 0))
        if item.advance():
            running.append(item)
        else:
            yield item.window, item.error


class _InProgress(Generic[AnyArrays]):
    """A window and the rest of its steps.

    Attributes:
        error: the error that ended them early, if any did.
    """

    def __init__(self, window: AnyArrays, steps: Steps[None]) -> None:
        self.window = window
        self.error: EncoderError | None = None
        self._steps = steps
        self._product: PendingGemm | None = None

    def ready(self) -> bool:
        """Return whether ``advance`` need not wait for the device."""
        return self._product is None or self._product.done()

    def advance(self) -> bool:
        """Work until the next product is on the device; return False once nothing is left to do."""
        try:
            self._product = self._steps.send(self._product.result()) if self._product else next(self._steps)
        except StopIteration:
            return False
        except EncoderError as error:
            self.error = error
            return False
        return True
