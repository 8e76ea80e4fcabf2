"""Several windows in progress at a time: while the device multiplies for one, the host works on another.

Windows that waited for a product of the same configuration of the array go on one after the other, because their next
products have one in common again. So where each layer has an xclbin of its own, the device switches once for several
windows, and not for each.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
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
    array: str | None = None
    while True:
        while len(running) < at_most and (window := waiting()) is not None:
            running.append(_InProgress(window, work_on(window)))
        if not running:
            return
        item = running.pop(_next_of(running, array))
        array = item.array
        if item.advance():
            running.append(item)
        else:
            yield item.window, item.error


def _next_of(running: Sequence[_InProgress[AnyArrays]], array: str | None) -> int:
    """Return the index of the window to work on; those that wait for a product of ``array`` come first.

    Where none is ready it is the one that has waited longest: the device works in order.
    """
    for wants_alike in (True, False):
        for index, item in enumerate(running):
            if (item.array == array) is wants_alike and item.ready():
                return index
    return 0


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

    @property
    def array(self) -> str | None:
        """The configuration of the device that its product needs; None before the first."""
        return self._product.array if self._product else None

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
