"""The runs in flight on one hardware context, from their start until their end is noticed.

pyxrt's ``wait`` holds the GIL, so runs are polled.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from npu_encoder.errors import DeviceAbortError, DeviceError, DeviceTimeoutError, PoisonedOutputError
from npu_encoder.npu.buffers import Buffers, ResidentWeight
from npu_encoder.npu.driver import DeviceErrors, Driver
from npu_encoder.npu.gemm import GemmInput, GemmOutput
from npu_encoder.npu.hardware import Hardware
from npu_encoder.npu.kernels import Kernel
from npu_encoder.npu.pace import Pace

MAX_IN_FLIGHT = 4

POLL_S = 50e-6
MAX_PAUSE_S = 5e-3

UNDER_WAY = {1, 2, 3, 7}
COMPLETED, ABORT, TIMEOUT = 4, 6, 8
"""States of ert_cmd_state, as numbers: pyxrt has no name for 3, a running command."""


class RunOwner(Protocol):
    """The context that a run asks to get on."""

    def advance(self) -> None:
        """Settle the runs that have ended."""
        ...

    def pause(self) -> None:
        """Wait until it pays to look again."""
        ...


class XrtRun:
    """The ``PendingGemm`` of a context."""

    def __init__(self, owner: RunOwner, kernel: Kernel, weight: ResidentWeight, rows: int) -> None:
        self.kernel = kernel
        self.weight = weight
        self.rows = rows
        self._owner = owner
        self._product: GemmOutput | None = None
        self._error: DeviceError | None = None

    @property
    def array(self) -> str:
        return self.kernel.xclbin_sha256

    def done(self) -> bool:
        if not self._settled():
            self._owner.advance()
        return self._settled()

    def result(self) -> GemmOutput:
        while self._product is None:
            if self._error is not None:
                raise self._error
            if not self.done():
                self._owner.pause()
        return self._product

    def complete(self, product: GemmOutput) -> None:
        """Settle with the product."""
        self._product = product

    def fail(self, error: DeviceError) -> None:
        """Settle with an error; the first one counts."""
        self._error = self._error or error

    def _settled(self) -> bool:
        return self._product is not None or self._error is not None


@dataclass(frozen=True, eq=False)
class _InFlight:
    run: XrtRun
    handle: Any
    buffers: Buffers
    started: float
    deadline: float


class RunQueue:
    """The runs in flight, oldest first: a context works on them in order. The context's lock guards all but ``pause``.

    Args:
        driver: pyxrt or its simulator.
        hardware: what the runs run on.
        timeout_s: after this a run counts as lost.
    """

    def __init__(self, driver: Driver, hardware: Hardware, timeout_s: float) -> None:
        self._clock = driver.clock
        self._hardware = hardware
        self._timeout_s = timeout_s
        self._in_flight: deque[_InFlight] = deque()
        self._pace = Pace(driver.clock)
        self._outstanding_work = 0

    def __len__(self) -> int:
        return len(self._in_flight)

    @property
    def outstanding_work(self) -> int:
        """Multiplications that the runs in flight still owe."""
        return self._outstanding_work

    def start(self, run: XrtRun, x: GemmInput) -> None:
        """Launch a run of ``x @ run.weight``.

        Raises:
            DeviceError: if the device does not take it.
        """
        handle, buffers = self._hardware.launch(run.kernel, run.weight, x)
        now = self._clock.monotonic()
        self._in_flight.append(_InFlight(run, handle, buffers, now, now + self._timeout_s))
        self._outstanding_work += run.kernel.work

    def collect(self) -> None:
        """Settle the runs that have ended, oldest first, up to the first that has failed.

        Raises:
            DeviceError: the error of the run that has failed. Nobody may use the hardware again.
        """
        while self._in_flight:
            flight = self._in_flight[0]
            try:
                if not self._has_ended(flight):
                    return
                self._pace.learn(flight.run.kernel, flight.started)
                product = self._product_of(flight)
            except DeviceError as error:
                # A copy, because the traceback would tie the run to the frames that the error has passed through.
                flight.run.fail(type(error)(str(error)))
                raise
            self._in_flight.popleft()
            self._outstanding_work -= flight.run.kernel.work
            self._hardware.recycle(flight.buffers)
            flight.run.complete(product)

    def give_up(self, failure: DeviceError) -> None:
        """Fail all runs and forget their buffers: a run that ends late may still write into them."""
        for flight in self._in_flight:
            flight.run.fail(DeviceAbortError(f"The run was given up with its context: {failure}"))
        self._in_flight.clear()
        self._outstanding_work = 0

    def pause(self) -> None:
        """Sleep until it pays to poll the oldest run; other threads run meanwhile."""
        nearly_due_s = 0.0
        for flight in tuple(self._in_flight)[:1]:
            nearly_due_s = self._pace.nearly_due_s(flight.run.kernel, flight.started)
        self._clock.sleep(min(max(POLL_S, nearly_due_s), MAX_PAUSE_S))

    def _has_ended(self, flight: _InFlight) -> bool:
        with DeviceErrors("polling a run"):
            state = int(flight.handle.state())
        if state == COMPLETED:
            return True
        name = flight.run.kernel.name
        if state == TIMEOUT:
            raise DeviceTimeoutError(f"The driver killed a run of {name}, which took too long")
        if state == ABORT:
            raise DeviceAbortError(f"The driver aborted a run of {name}")
        if state not in UNDER_WAY:
            raise DeviceError(f"A run of {name} ended with the state {state} (ert_cmd_state)")
        if self._clock.monotonic() > flight.deadline:
            raise DeviceTimeoutError(f"A run of {name} did not end within {self._timeout_s} s")
        return False

    def _product_of(self, flight: _InFlight) -> GemmOutput:
        run, buffers = flight.run, flight.buffers
        self._hardware.fetch(buffers)
        if not buffers.answers_match(run.weight):
            raise PoisonedOutputError(f"A run of {run.kernel.name} is complete, but its known-answer rows are wrong")
        return buffers.product(run.weight, run.rows)
