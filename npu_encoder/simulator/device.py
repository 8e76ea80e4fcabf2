"""The simulated device: who may open it, and its hardware contexts."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from pathlib import Path

from npu_encoder.simulator.arguments import Arguments, Nonsense, interpret
from npu_encoder.simulator.buffers import Buffer
from npu_encoder.simulator.config import SimulatorConfig
from npu_encoder.simulator.enums import BufferFlags
from npu_encoder.simulator.errors import StrictnessError
from npu_encoder.simulator.execution import Execution
from npu_encoder.simulator.faults import LOST, NO_CONTEXT, FaultPlan, RunFault, Site
from npu_encoder.simulator.kernels import InvalidKernelError, SimulatedXclbin, parse_xclbin
from npu_encoder.simulator.queues import Command, Queue

BDF = "0000:00:00.0"


class Context:
    """A hardware context. Its place on the device is free again once nothing refers to it any more.

    Attributes:
        slot: its number on the device, which is part of its memory groups.
    """

    def __init__(self, npu: Npu, handle: int, xclbin: SimulatedXclbin, slot: int, queue: Queue) -> None:
        self.npu = npu
        self.handle = handle
        self.xclbin = xclbin
        self.slot = slot
        self.queue = queue


class Npu:
    """One device as one process sees it. Safe to share between threads.

    A *handle* is the number of times that the device had been lost by the time it was opened: everything made with it
    works until the device is lost once more.
    """

    def __init__(self, config: SimulatorConfig, faults: FaultPlan) -> None:
        self.config = config
        self.faults = faults
        self.execution = Execution(config)
        self._lock = threading.RLock()
        self._losses = 0
        self._opens = 0
        self._xclbins: dict[str, SimulatedXclbin] = {}
        self._queues: dict[int, Queue] = {}

    def open(self, index: int | str) -> int:
        """Open the device; return a handle.

        Raises:
            RuntimeError: if there is none, or the process has opened it too often.
        """
        self.faults.strike(Site.OPEN)
        self._opens += 1
        if index not in (0, BDF) or self._opens > self.config.max_opens:
            raise RuntimeError(f" No such device with index '{index}'")
        self.config.clock.sleep(self.config.latency.open_s)
        return self._losses

    def read_xclbin(self, path: str) -> SimulatedXclbin:
        """Read a file.

        Raises:
            RuntimeError: if it is missing or no simulated kernel.
        """
        self.faults.strike(Site.XCLBIN)
        try:
            return parse_xclbin(Path(path).read_bytes())
        except OSError as error:
            raise RuntimeError(f"Failed to open file '{path}' for reading") from error
        except InvalidKernelError as error:
            raise RuntimeError(f"Invalid xclbin: '{path}': {error}") from error

    def register(self, handle: int, uuid: str, xclbin: SimulatedXclbin) -> None:
        """Make an xclbin known to the device."""
        self._check_handle(handle, "CONFIG_HWCTX")
        self._xclbins[uuid] = xclbin

    def create_context(self, handle: int, uuid: str) -> Context:
        """Take a place on the device, in the partition with the fewest contexts.

        Raises:
            RuntimeError: if all are taken, or the xclbin has not been registered.
        """
        self._check_handle(handle, "CREATE_HWCTX")
        self.faults.strike(Site.CONTEXT)
        if uuid not in self._xclbins:
            raise RuntimeError(f"No such xclbin '{uuid}': Invalid argument")
        with self._lock:
            slot = next((slot for slot in range(1, self.config.max_contexts + 1) if slot not in self._queues), None)
            if slot is None:
                raise RuntimeError(NO_CONTEXT)
            self._queues[slot] = queue = Queue(self._emptiest_partition())
        context = Context(self, handle, self._xclbins[uuid], slot, queue)
        weakref.finalize(context, self._release, slot, queue).atexit = False
        self.config.clock.sleep(self.config.latency.context_s)
        return context

    def create_buffer(self, handle: int, size: int, flags: BufferFlags, group: int) -> Buffer:
        """Allocate memory.

        Raises:
            RuntimeError: if there is none, or not of this kind.
        """
        self._check_handle(handle, "CREATE_BO")
        self.faults.strike(Site.BUFFER)
        if flags not in (BufferFlags.host_only, BufferFlags.cacheable):
            raise RuntimeError(f"unsupported buffer flags {int(flags):#x} (err=95): Operation not supported")
        if size <= 0:
            raise RuntimeError("size must be a positive number: Invalid argument")
        self.config.clock.sleep(self.config.latency.buffer(size))
        return Buffer(size, int(flags), group, shared=self.config.timing_only)

    def start(self, context: Context, arguments: Arguments) -> Command:
        """Start a run with the arguments as they are.

        Raises:
            RuntimeError: if the device is gone.
            StrictnessError: if the config is strict and the run cannot compute anything.
        """
        self._check_handle(context.handle, "EXEC_CMD")
        task = interpret(arguments, context.xclbin)
        if self.config.strict and isinstance(task, Nonsense):
            raise StrictnessError(task.reason)
        fault = self.faults.strike(Site.RUN, None if isinstance(task, Nonsense) else task.shape)
        if fault is not None and fault.loses_device:
            self._lose()
            raise RuntimeError(LOST)
        return self.execution.start(context.queue, task, (fault and fault.run) or RunFault())

    def _lose(self) -> None:
        self._losses += 1
        self._xclbins.clear()
        self.execution.abort_all()

    def _check_handle(self, handle: int, operation: str) -> None:
        if handle != self._losses:
            raise RuntimeError(f"DRM_IOCTL_AMDXDNA_{operation} IOCTL failed (err=-19): No such device")

    def _emptiest_partition(self) -> int:
        taken = Counter(queue.partition for queue in self._queues.values())
        return min(range(self.config.partitions), key=lambda partition: taken[partition])

    def _release(self, slot: int, queue: Queue) -> None:
        self.execution.release(queue)
        with self._lock:
            del self._queues[slot]
