"""One hardware context of the NPU: it takes runs, and it is rebuilt, once, when one of them has failed."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Literal

import numpy as np

from npu_encoder.errors import DeviceError, NoKernelError, PoisonedOutputError
from npu_encoder.npu.buffers import ResidentWeight
from npu_encoder.npu.driver import Driver
from npu_encoder.npu.gemm import GemmInput, GemmOutput
from npu_encoder.npu.hardware import Hardware
from npu_encoder.npu.kernels import Kernel, capacity
from npu_encoder.npu.runs import MAX_IN_FLIGHT, RunQueue, XrtRun

ContextStatus = Literal["serving", "recovering", "failed"]


WRONG_FROM_THE_START = (
    "Where this happens at every start, compile the kernel again, and let the field bf16 of its manifest say how it "
    "multiplies bf16: native, or bfp16"
)


class XrtContext:
    """A hardware context for one xclbin.

    Giving a context back while a run of it has not ended blocks for up to 2 s inside the driver, and pyxrt holds the
    GIL meanwhile: the whole process waits. So a rebuild after a time-out costs all windows that long.

    A run that fails takes all runs of its context with it: their buffers are never used again, as a late completion
    may still write into them. The context is then rebuilt, once, and has to multiply rows with known products; if it
    cannot, it has failed for good.

    Args:
        driver: pyxrt or its simulator.
        device: the open device.
        kernels: the shapes of the xclbin, at least one.
        run_timeout_s: after this a run counts as lost; more than the driver needs to kill one.

    Raises:
        DeviceError: if the device has no room for the context.
        NoKernelError: if the xclbin is not what its manifest says.
    """

    def __init__(self, driver: Driver, device: Any, kernels: Iterable[Kernel], run_timeout_s: float) -> None:
        self._kernels = tuple(kernels)
        self._hardware = Hardware(driver, device, self._kernels)
        self._runs = RunQueue(driver, self._hardware, run_timeout_s)
        self._lock = threading.Lock()
        self._weights: dict[str, ResidentWeight] = {}
        self._status: ContextStatus = "serving"
        self._reason: str | None = None
        self.recoveries = 0
        self._hardware.open()

    @property
    def status(self) -> ContextStatus:
        """Whether the context takes runs."""
        return self._status

    @property
    def reason(self) -> str | None:
        """Why the context failed, or last had to be rebuilt."""
        return self._reason

    @property
    def outstanding_work(self) -> int:
        """Multiplications that the runs in flight still owe."""
        return self._runs.outstanding_work

    def load(self, weight: ResidentWeight) -> None:
        """Make a weight resident; the first of its size also proves the kernels of that size.

        Raises:
            DeviceError: if the device has no room for the weight, or does not multiply.
        """
        with self._lock:
            proven = {known.values.shape for known in self._weights.values()}
            self._weights[weight.name] = weight
            self._hardware.load(weight)
            if weight.values.shape in proven:
                return
            try:
                self._prove_kernels(weight)
            except PoisonedOutputError as error:
                raise PoisonedOutputError(f"{error}. {WRONG_FROM_THE_START}") from error

    def submit(self, kernel: Kernel, weight: ResidentWeight, x: GemmInput) -> XrtRun | None:
        """Start ``x @ weight``; return None if the context has no room now, or is not serving.

        Args:
            kernel: one of the context's, of the weight's size.
            weight: a loaded weight.
            x: ``[rows, k]``, at most the kernel's capacity.

        Raises:
            DeviceError: if the device does not take the run; the context has been rebuilt, or has failed.
        """
        with _Hold(self._lock, self._rebuild) as held:
            if not held or self._status != "serving" or len(self._runs) >= MAX_IN_FLIGHT:
                return None
            return self._start(kernel, weight, x)

    def advance(self) -> None:
        """Settle the runs that have ended; return at once if another thread does it.

        Rebuilds the context when a run has failed.
        """
        try:
            with _Hold(self._lock, self._rebuild) as held:
                if held:
                    self._runs.collect()
        except DeviceError:
            return  # the run has the error

    def probe(self) -> None:
        """Multiply known-answer rows with the smallest kernel, unless the context is in use.

        A failure has the consequences of that of any other run. Waits no longer than for any other.
        """
        try:
            with _Hold(self._lock, self._rebuild) as held:
                if held and self._status == "serving" and not self._runs:
                    self._multiply_least()
        except DeviceError:
            return  # ``status`` and ``reason`` tell of it

    def pause(self) -> None:
        """Wait until it pays to poll again; other threads run meanwhile."""
        self._runs.pause()

    def close(self) -> None:
        """Give the context back to the device, once the runs in flight have ended."""
        while self._runs:
            self.advance()
            self.pause()
        with self._lock:
            self._status, self._reason = "failed", "The context was closed"
            self._hardware.release()

    def _rebuild(self, failure: DeviceError) -> None:
        """Drop everything that the failed run may still touch, and make it anew."""
        self._status, self._reason = "recovering", str(failure)
        self._runs.give_up(failure)
        self._hardware.release()
        try:
            self._hardware.open()
            for weight in self._weights.values():
                self._hardware.load(weight)
            for weight in {weight.values.shape: weight for weight in self._weights.values()}.values():
                self._prove_kernels(weight)
        except (DeviceError, NoKernelError) as error:
            self._reason = f"{failure}. The context failed again after rebuilding it: {error}"
        else:
            self.recoveries += 1
            self._status = "serving"
            return
        self._runs.give_up(failure)
        self._hardware.release()
        self._status = "failed"

    def _prove_kernels(self, weight: ResidentWeight) -> None:
        """Multiply known-answer rows only, on every row of every kernel of the weight's size.

        Raises:
            DeviceError: if the device cannot, or gets a single one wrong.
        """
        for kernel in filter(weight.fits, self._kernels):
            product = self._multiply(kernel, weight, np.resize(weight.known.questions, (capacity(kernel), kernel.k)))
            if not weight.known.matches(product):
                raise PoisonedOutputError(f"The kernel {kernel.name} multiplies wrongly: compile it again")

    def _multiply_least(self) -> None:
        """Do the smallest run there is; its known-answer rows are checked as in any other."""
        kernel, weight = min(
            ((kernel, weight) for kernel in self._kernels for weight in self._weights.values() if weight.fits(kernel)),
            key=lambda pair: pair[0].work,
        )
        self._multiply(kernel, weight, weight.known.questions)

    def _multiply(self, kernel: Kernel, weight: ResidentWeight, x: GemmInput) -> GemmOutput:
        run = self._start(kernel, weight, x)
        while self._runs:
            self._runs.collect()
            self.pause()
        return run.result()

    def _start(self, kernel: Kernel, weight: ResidentWeight, x: GemmInput) -> XrtRun:
        run = XrtRun(self, kernel, weight, len(x))
        self._runs.start(run, x)
        return run


class _Hold:
    """The lock of a context, unless another thread has it; where the work inside fails on the device, a rebuild.

    A class, because the context is polled often, and a generator would cost several times as much. ``with`` gives
    whether the lock is held; a ``DeviceError`` goes on once the context serves again or has failed.
    """

    def __init__(self, lock: threading.Lock, rebuild: Callable[[DeviceError], None]) -> None:
        self._lock = lock
        self._rebuild = rebuild
        self._is_held = False

    def __enter__(self) -> bool:
        self._is_held = self._lock.acquire(blocking=False)
        return self._is_held

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        if not self._is_held:
            return
        try:
            if isinstance(error, DeviceError):
                _empty_frames(error)
                self._rebuild(error)
        finally:
            self._lock.release()


def _empty_frames(error: BaseException | None) -> None:
    """Clear the frames that an error has passed through.

    Their variables would keep the buffers and the context of the failed run alive, which a rebuild has to free first.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
