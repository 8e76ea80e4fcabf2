"""One hardware context of the NPU: its kernel, its resident buffers, and the runs in flight on it.

The calling sequence is that of mlir-aie's examples: ``kernel(3, instructions, words, a, b, c)``. Nothing is built for
a call. pyxrt's ``wait`` holds the GIL, so runs are polled; its ``kernel(...)`` drops arguments it does not like without
a word, so they are checked before.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from npu_encoder.errors import (
    DeviceAbortError,
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
    NoKernelError,
    PoisonedOutputError,
)
from npu_encoder.npu.driver import Driver
from npu_encoder.npu.kernels import ENTRY, Kernel, capacity
from npu_encoder.npu.known_answers import (
    INPUT_DTYPES,
    OUTPUT_DTYPES,
    UNANSWERED,
    KnownAnswers,
    caller_rows,
    question_rows,
)

MAX_IN_FLIGHT = 4

# Polls cost CPU time. So the first one comes when a run is nearly as old as the last one of its kernel became.
POLL_S = 50e-6
MAX_PAUSE_S = 5e-3
NEARLY = 0.95
GROWTH = 1.25

OPCODE = 3
INSTRUCTIONS, A, B, C = 1, 3, 4, 5  # argument numbers of the kernel; 0 is the opcode, 2 the number of words
MAX_INT32 = 2**31 - 1

# Of ert_cmd_state; numbers, because pyxrt has no name for 3, a running command.
UNDER_WAY = {1, 2, 3, 7}
COMPLETED, ABORT, TIMEOUT = 4, 6, 8

DEVICE_GONE = ("No such device", "err=-19")

ContextStatus = Literal["serving", "recovering", "failed"]


@dataclass(frozen=True, eq=False)
class ResidentWeight:
    """A weight as the device holds it.

    Attributes:
        name: of the layer.
        values: ``[K, N]`` of the kernels, padded with zeros; kept to rebuild a context.
        n: columns without the padding.
        known: what the known-answer rows must yield with it.
    """

    name: str
    values: NDArray[Any]
    n: int
    known: KnownAnswers


@dataclass(eq=False)
class Buffers:
    """Room for the activations ``[m, k]`` and the product ``[m, n]`` of one run.

    A view into a buffer does not keep it alive, so both are held together.
    """

    a: NDArray[Any]
    c: NDArray[Any]
    a_bo: Any
    c_bo: Any


class XrtRun:
    """One product on its way (``PendingGemm``)."""

    def __init__(self, context: XrtContext, kernel: Kernel, weight: ResidentWeight, rows: int) -> None:
        self.kernel = kernel
        self.weight = weight
        self.rows = rows
        self._context = context
        self._product: NDArray[Any] | None = None
        self._error: DeviceError | None = None

    def done(self) -> bool:
        if not self._settled():
            self._context.advance()
        return self._settled()

    def result(self) -> NDArray[np.int32] | NDArray[np.float32]:
        while self._product is None:
            if self._error is not None:
                raise self._error
            if not self.done():
                self._context.pause()
        return self._product

    def complete(self, product: NDArray[Any]) -> None:
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


@dataclass(eq=False)
class _Hardware:
    """All that a rebuild replaces, in the order of its release: buffers, kernel, context.

    Attributes:
        idle: buffers of each kernel that no run uses; they grow to as many as were ever in flight together.
    """

    idle: dict[Kernel, list[Buffers]] = field(default_factory=lambda: defaultdict(list))
    weights: dict[str, Any] = field(default_factory=dict)
    instructions: dict[Kernel, Any] = field(default_factory=dict)
    kernel: Any = None
    context: Any = None

    def release(self) -> None:
        self.idle.clear()
        self.weights.clear()
        self.instructions.clear()
        self.kernel = None
        self.context = None


class XrtContext:
    """A hardware context for one xclbin.

    A run that fails takes all runs of its context with it: their buffers are never used again, as a late completion
    may still write into them. The context is then rebuilt, once, and has to multiply rows with known products; if it
    cannot, it has failed for good.

    Args:
        driver: pyxrt or its simulator.
        device: the open device.
        kernels: the shapes of the xclbin, at least one.
        run_timeout_s: after this a run counts as lost; more than the 2 s after which the driver kills one.

    Raises:
        DeviceError: if the device has no room for the context.
        NoKernelError: if the xclbin is not what its manifest says.
    """

    def __init__(self, driver: Driver, device: Any, kernels: Iterable[Kernel], run_timeout_s: float) -> None:
        self._driver = driver
        self._device = device
        self._kernels = tuple(kernels)
        self._run_timeout_s = run_timeout_s
        self._lock = threading.Lock()
        self._in_flight: deque[_InFlight] = deque()
        self._weights: dict[str, ResidentWeight] = {}
        self._hardware = _Hardware()
        self._durations: dict[Kernel, float] = {}
        self._last_end = -math.inf
        self._status: ContextStatus = "serving"
        self._reason: str | None = None
        self.recoveries = 0
        self._open()

    @property
    def status(self) -> ContextStatus:
        """Whether it takes runs."""
        return self._status

    @property
    def reason(self) -> str | None:
        """Why it failed, or last had to be rebuilt."""
        return self._reason

    @property
    def outstanding_work(self) -> int:
        """Multiplications that the runs in flight still owe."""
        return sum(flight.run.kernel.work for flight in tuple(self._in_flight))

    def load(self, weight: ResidentWeight) -> None:
        """Make a weight resident; the first of its size also proves the kernels of that size.

        Raises:
            DeviceError: if the device has no room for it, or does not multiply.
        """
        with self._lock:
            proven = {known.values.shape for known in self._weights.values()}
            self._weights[weight.name] = weight
            self._make_resident(weight)
            if weight.values.shape not in proven:
                self._prove(weight)

    def submit(self, kernel: Kernel, weight: ResidentWeight, x: NDArray[Any]) -> XrtRun | None:
        """Start ``x @ weight``; None if the context has no room now, or is not serving.

        Args:
            kernel: one of the context's, of the weight's size.
            weight: loaded.
            x: ``[rows, k]``, at most the kernel's capacity.

        Raises:
            DeviceError: if the device does not take the run; the context has been rebuilt, or has failed.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if self._status != "serving" or len(self._in_flight) >= MAX_IN_FLIGHT:
                return None
            try:
                return self._start(kernel, weight, x)
            except DeviceError as error:
                failure = _without_frames(error)
            self._recover(failure)
            raise failure
        finally:
            self._lock.release()

    def advance(self) -> None:
        """Settle the runs that have ended; returns at once if another thread is at it.

        Rebuilds the context when a run has failed.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            try:
                self._collect()
            except DeviceError as error:
                failure = _without_frames(error)
            else:
                return
            self._in_flight[0].run.fail(failure)
            self._recover(failure)
        finally:
            self._lock.release()

    def check(self) -> None:
        """Multiply known-answer rows with the smallest kernel, unless the context is in use; a failure is one of a run.

        Waits no longer than for any run.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._in_flight or self._status != "serving":
                return
            try:
                self._multiply_least()
            except DeviceError as error:
                failure = _without_frames(error)
            else:
                return
            self._recover(failure)
        finally:
            self._lock.release()

    def pause(self) -> None:
        """Wait until it pays to poll again; other threads run meanwhile."""
        self._driver.clock.sleep(min(max(POLL_S, self._nearly_due_s()), MAX_PAUSE_S))

    def close(self) -> None:
        """Give the context back to the device, once the runs in flight have ended."""
        while self._in_flight:
            self.advance()
            self.pause()
        with self._lock:
            self._status, self._reason = "failed", "it was closed"
            self._hardware.release()

    def _open(self) -> None:
        xrt, hardware = self._driver.xrt, self._hardware
        with _translated("opening a hardware context"):
            xclbin = xrt.xclbin(str(self._kernels[0].xclbin))
            _check_entry(xclbin, self._kernels[0])
            hardware.context = xrt.hw_context(self._device, self._device.register_xclbin(xclbin))
            hardware.kernel = xrt.kernel(hardware.context, ENTRY)
            for kernel in self._kernels:
                hardware.instructions[kernel] = self._filled(kernel.instructions, xrt.bo.cacheable, INSTRUCTIONS)

    def _make_resident(self, weight: ResidentWeight) -> None:
        with _translated(f"loading the weight {weight.name}"):
            self._hardware.weights[weight.name] = self._filled(weight.values, self._driver.xrt.bo.host_only, B)

    def _prove(self, weight: ResidentWeight) -> None:
        """Multiply known-answer rows only, on every row of every kernel of the weight's size.

        Raises:
            DeviceError: if the device cannot, or gets a single one wrong.
        """
        for kernel in self._kernels:
            if _fit(kernel, weight):
                self._prove_kernel(kernel, weight)

    def _prove_kernel(self, kernel: Kernel, weight: ResidentWeight) -> None:
        product = self._multiply(kernel, weight, np.resize(weight.known.questions, (capacity(kernel), kernel.k)))
        if not weight.known.matches(product):
            raise PoisonedOutputError(f"the kernel {kernel.name} multiplies wrongly")

    def _multiply_least(self) -> None:
        """The smallest run there is; its known-answer rows are checked as in any other."""
        kernel, weight = min(
            ((kernel, weight) for kernel in self._kernels for weight in self._weights.values() if _fit(kernel, weight)),
            key=lambda pair: pair[0].work,
        )
        self._multiply(kernel, weight, weight.known.questions)

    def _multiply(self, kernel: Kernel, weight: ResidentWeight, x: NDArray[Any]) -> NDArray[Any]:
        run = self._start(kernel, weight, x)
        while self._in_flight:
            self._collect()
            self.pause()
        return run.result()

    def _start(self, kernel: Kernel, weight: ResidentWeight, x: NDArray[Any]) -> XrtRun:
        with _translated("starting a run"):
            idle = self._hardware.idle[kernel]
            buffers = idle.pop() if idle else self._new_buffers(kernel)
            _fill(buffers, kernel, weight, x)
            self._to_device(buffers.a_bo, buffers.a.nbytes, 0)
            row_bytes = buffers.c[0].nbytes
            for row in range(kernel.m)[question_rows(kernel)]:
                self._to_device(buffers.c_bo, row_bytes, row * row_bytes)
            handle = self._launch(kernel, weight, buffers)
        run = XrtRun(self, kernel, weight, len(x))
        now = self._driver.clock.monotonic()
        self._in_flight.append(_InFlight(run, handle, buffers, now, now + self._run_timeout_s))
        return run

    def _launch(self, kernel: Kernel, weight: ResidentWeight, buffers: Buffers) -> Any:
        hardware, words = self._hardware, kernel.instructions.size
        arguments = (hardware.instructions[kernel], buffers.a_bo, hardware.weights[weight.name], buffers.c_bo)
        # pyxrt would leave an argument that it cannot convert unset, and start the run all the same.
        if not all(isinstance(bo, self._driver.xrt.bo) for bo in arguments) or not 0 < words <= MAX_INT32:
            raise DeviceError(f"the arguments of {kernel.name} are not three buffers and their instructions")
        instructions, *operands = arguments
        return hardware.kernel(OPCODE, instructions, words, *operands)

    def _collect(self) -> None:
        """Settle the runs that are complete, oldest first: a context runs them in order.

        Raises:
            DeviceError: if the oldest run in flight has failed.
        """
        while self._in_flight and self._ended(self._in_flight[0]):
            flight = self._in_flight[0]
            self._learn(flight)
            product = self._read(flight)
            self._in_flight.popleft()
            self._hardware.idle[flight.run.kernel].append(flight.buffers)
            flight.run.complete(product)

    def _nearly_due_s(self) -> float:
        """Until the oldest run in flight is nearly as old as the last one of its kernel became."""
        for flight in tuple(self._in_flight)[:1]:
            begun = max(flight.started, self._last_end)
            return begun + NEARLY * self._durations.get(flight.run.kernel, 0.0) - self._driver.clock.monotonic()
        return 0.0

    def _learn(self, flight: _InFlight) -> None:
        """Runs take turns. One whose end was noticed late seems long, so what is expected grows slowly."""
        now, kernel = self._driver.clock.monotonic(), flight.run.kernel
        took = now - max(flight.started, self._last_end)
        self._durations[kernel] = min(took, GROWTH * self._durations.get(kernel, took))
        self._last_end = now

    def _ended(self, flight: _InFlight) -> bool:
        with _translated("polling a run"):
            state = int(flight.handle.state())
        if state == COMPLETED:
            return True
        name = flight.run.kernel.name
        if state == TIMEOUT:
            raise DeviceTimeoutError(f"the driver killed a run of {name}, which took too long")
        if state == ABORT:
            raise DeviceAbortError(f"the driver aborted a run of {name}")
        if state not in UNDER_WAY:
            raise DeviceError(f"a run of {name} ended with the state {state} (ert_cmd_state)")
        if self._driver.clock.monotonic() > flight.deadline:
            raise DeviceTimeoutError(f"a run of {name} did not end within {self._run_timeout_s} s")
        return False

    def _read(self, flight: _InFlight) -> NDArray[Any]:
        run, buffers = flight.run, flight.buffers
        with _translated("reading a product"):
            buffers.c_bo.sync(self._driver.xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE, buffers.c.nbytes, 0)
        if not run.weight.known.matches(buffers.c[question_rows(run.kernel)]):
            raise PoisonedOutputError(f"a run of {run.kernel.name} is complete, but its known-answer rows are wrong")
        product = np.empty((run.rows, run.weight.n), buffers.c.dtype)
        for ours, theirs in caller_rows(run.kernel, run.rows):
            product[ours] = buffers.c[theirs, : run.weight.n]
        return product

    def _recover(self, failure: DeviceError) -> None:
        """Drop everything that the failed run may still touch, and rebuild it, once."""
        self._status, self._reason = "recovering", str(failure)
        self._abandon(failure)
        try:
            self._open()
            for weight in self._weights.values():
                self._make_resident(weight)
            for weight in {weight.values.shape: weight for weight in self._weights.values()}.values():
                self._prove(weight)
        except (DeviceError, NoKernelError) as error:
            self._reason = f"{failure}; and after rebuilding its context: {error}"
        else:
            self.recoveries += 1
            self._status = "serving"
            return
        self._abandon(failure)
        self._status = "failed"

    def _abandon(self, failure: DeviceError) -> None:
        for flight in self._in_flight:
            flight.run.fail(DeviceAbortError(f"given up with its context: {failure}"))
        self._in_flight.clear()
        self._hardware.release()

    def _new_buffers(self, kernel: Kernel) -> Buffers:
        a, a_bo = self._mapped((kernel.m, kernel.k), INPUT_DTYPES[kernel.precision], A)
        c, c_bo = self._mapped((kernel.m, kernel.n), OUTPUT_DTYPES[kernel.precision], C)
        # The rows that nobody fills are multiplied as well.
        a[:] = 0
        return Buffers(a, c, a_bo, c_bo)

    def _mapped(self, shape: tuple[int, int], dtype: type[np.generic], argument: int) -> tuple[NDArray[Any], Any]:
        count = shape[0] * shape[1]
        bo = self._allocate(count * np.dtype(dtype).itemsize, self._driver.xrt.bo.host_only, argument)
        return np.frombuffer(bo.map(), dtype, count).reshape(shape), bo

    def _filled(self, content: NDArray[Any], flags: Any, argument: int) -> Any:
        bo = self._allocate(content.nbytes, flags, argument)
        # pyxrt corrupts what is not contiguous, silently.
        bo.write(np.ascontiguousarray(content), 0)
        self._to_device(bo, content.nbytes, 0)
        return bo

    def _allocate(self, size: int, flags: Any, argument: int) -> Any:
        return self._driver.xrt.bo(self._device, size, flags, self._hardware.kernel.group_id(argument))

    def _to_device(self, bo: Any, size: int, offset: int) -> None:
        bo.sync(self._driver.xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE, size, offset)


def _fit(kernel: Kernel, weight: ResidentWeight) -> bool:
    return (kernel.k, kernel.n) == weight.values.shape


def _fill(buffers: Buffers, kernel: Kernel, weight: ResidentWeight, x: NDArray[Any]) -> None:
    k = x.shape[1]
    for ours, theirs in caller_rows(kernel, len(x)):
        buffers.a[theirs, :k] = x[ours]
        buffers.a[theirs, k:] = 0
    questions = question_rows(kernel)
    buffers.a[questions] = weight.known.questions
    buffers.c.view(np.int32)[questions] = UNANSWERED


def _check_entry(xclbin: Any, kernel: Kernel) -> None:
    entries = {entry.get_name(): entry.get_num_args() for entry in xclbin.get_kernels()}
    # One buffer too many crashes the process inside XRT.
    if entries.get(ENTRY, 0) <= C:
        raise NoKernelError(f"{kernel.xclbin.name} has no {ENTRY} that takes three buffers; it has {entries}")


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """pyxrt raises nothing but ``RuntimeError``; what happened is in its text."""
    try:
        yield
    except RuntimeError as error:
        text = str(error).strip()
        lost = any(sign in text for sign in DEVICE_GONE)
        raise (DeviceLostError if lost else DeviceError)(f"{doing}: {text}") from error


def _without_frames(error: DeviceError) -> DeviceError:
    """The same error without its traceback, whose frames would keep the buffers and the context of the run alive."""
    return type(error)(str(error))
