"""Faults that can be injected, each at chosen calls: ``FaultPlan([open_fails(first(2)), run_hangs(nth(5))])``."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from npu_encoder.simulator.enums import CommandState
from npu_encoder.simulator.kernels import KernelShape


class Site(Enum):
    """The call at which a fault strikes."""

    IMPORT = auto()
    OPEN = auto()
    XCLBIN = auto()
    CONTEXT = auto()
    KERNEL = auto()
    BUFFER = auto()
    RUN = auto()


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the module.

    Attributes:
        number: the number of this call among those of its site, from 1.
        shape: the shape of a run's GEMM, if its instructions are valid; None at other sites.
    """

    number: int
    shape: KernelShape | None = None


When = Callable[[Call], bool]


def always(call: Call) -> bool:
    """Strike at every call."""
    return call.number > 0


def nth(*numbers: int) -> When:
    """Strike at these calls, counted from 1."""
    return lambda call: call.number in numbers


def first(count: int) -> When:
    """Strike at the first ``count`` calls."""
    return lambda call: call.number <= count


def from_nth(number: int) -> When:
    """Strike at this call and all later ones."""
    return lambda call: call.number >= number


@dataclass(frozen=True, slots=True)
class RunFault:
    """The way in which a run fails that could be started.

    Attributes:
        state: the state that it ends in.
        takes_s: seconds until it ends; it keeps its context that long, not the device. None: as long as its GEMM takes.
        output: bits that fill the output instead of the product; None: the product.
        writes: whether the output is written at all.
    """

    state: CommandState = CommandState.ERT_CMD_STATE_COMPLETED
    takes_s: float | None = None
    output: int | None = None
    writes: bool = True


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of a plan.

    Attributes:
        site: the call that it strikes at.
        when: tells which of these calls.
        message: text of the error that the call raises; None if it raises nothing.
        error: the class of that error.
        run: what happens to a run.
        loses_device: whether every handle of the device is dead from then on. The device can be opened anew unless
            another fault prevents it.
    """

    site: Site
    when: When
    message: str | None = None
    error: type[Exception] = RuntimeError
    run: RunFault | None = None
    loses_device: bool = False


@dataclass(slots=True)
class FaultPlan:
    """The faults of one simulated device, and the count of calls that they go by."""

    faults: Sequence[Fault] = ()
    _counts: Counter[Site] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin_anew(self, faults: Sequence[Fault]) -> None:
        """Replace the faults, and count calls from here on."""
        with self._lock:
            self.faults = faults
            self._counts.clear()

    def strike(self, site: Site, shape: KernelShape | None = None) -> Fault | None:
        """Count a call; return the first fault that is due at it.

        Raises:
            Exception: that of the fault, if it makes the call fail and leaves the device alive.
        """
        with self._lock:
            self._counts[site] += 1
            if not self.faults:
                return None
            call = Call(self._counts[site], shape)
        due = next((fault for fault in self.faults if fault.site is site and fault.when(call)), None)
        if due is not None and due.message is not None and not due.loses_device:
            raise due.error(due.message)
        return due


NO_DEVICE = " No such device with index '0'"
NO_CONTEXT = "DRM_IOCTL_AMDXDNA_CREATE_HWCTX IOCTL failed (err=-22): Invalid argument"
NO_MEMORY = "DRM_IOCTL_AMDXDNA_CREATE_BO IOCTL failed (err=-12): Cannot allocate memory"
NOT_LOCKED = "mmap(len=4096) failed (err=-11): Resource temporarily unavailable"
LOST = "DRM_IOCTL_AMDXDNA_EXEC_CMD IOCTL failed (err=-19): No such device"


def module_missing() -> Fault:
    """Let ``create_module`` raise the ``ModuleNotFoundError`` of ``import pyxrt``."""
    return Fault(Site.IMPORT, always)


def open_fails(when: When = always) -> Fault:
    """Let the device be impossible to open."""
    return Fault(Site.OPEN, when, NO_DEVICE)


def xclbin_missing(path: str, when: When = always) -> Fault:
    """Let the file be unreadable."""
    return Fault(Site.XCLBIN, when, f"Failed to open file '{path}' for reading")


def xclbin_corrupt(when: When = always) -> Fault:
    """Let the file be no xclbin."""
    return Fault(Site.XCLBIN, when, "Invalid xclbin")


def contexts_exhausted(when: When = always) -> Fault:
    """Let other processes hold all hardware contexts."""
    return Fault(Site.CONTEXT, when, NO_CONTEXT)


def kernel_missing(name: str, when: When = always) -> Fault:
    """Let the xclbin hold no kernel of this name."""
    return Fault(Site.KERNEL, when, f"No such kernel '{name}': Invalid argument")


def allocation_fails(when: When = always) -> Fault:
    """Let there be no memory for a buffer."""
    return Fault(Site.BUFFER, when, NO_MEMORY)


def locking_fails(when: When = always) -> Fault:
    """Let memlock be limited: a buffer cannot be mapped."""
    return Fault(Site.BUFFER, when, NOT_LOCKED)


def host_memory_fails(when: When = always) -> Fault:
    """Let the host have no memory for what XRT keeps of a buffer."""
    return Fault(Site.BUFFER, when, "std::bad_alloc", MemoryError)


def device_lost(when: When) -> Fault:
    """Let the start of the run fail, and everything else with the device and all that was made from it."""
    return Fault(Site.RUN, when, LOST, loses_device=True)


def run_late(takes_s: float, when: When) -> Fault:
    """Let the run take ``takes_s``; its output is written then, whether or not anybody still waits for it."""
    return Fault(Site.RUN, when, run=RunFault(takes_s=takes_s))


def run_hangs(when: When) -> Fault:
    """Let the run never end by itself; the driver kills it: TIMEOUT."""
    return Fault(Site.RUN, when, run=RunFault(takes_s=float("inf")))


def run_aborts(when: When) -> Fault:
    """Let the firmware not answer: ABORT."""
    return Fault(Site.RUN, when, run=RunFault(CommandState.ERT_CMD_STATE_ABORT, writes=False))


def run_errs(when: When) -> Fault:
    """Let the firmware answer with an error: ERROR."""
    return Fault(Site.RUN, when, run=RunFault(CommandState.ERT_CMD_STATE_ERROR, writes=False))


def instructions_missing(when: When) -> Fault:
    """Let the device find nothing to do: COMPLETED, with the output as it was."""
    return Fault(Site.RUN, when, run=RunFault(writes=False))


def output_zeros(when: When) -> Fault:
    """Let the run end as COMPLETED, with an output of zeros."""
    return Fault(Site.RUN, when, run=RunFault(output=0))


def output_constant(value: int, when: When) -> Fault:
    """Let the run end as COMPLETED, with the same 32 bits in every element of the output."""
    return Fault(Site.RUN, when, run=RunFault(output=value))


def output_nan(when: When) -> Fault:
    """Let the run end as COMPLETED, with an output of NaN; an int8 kernel yields the integer with the same bits."""
    return Fault(Site.RUN, when, run=RunFault(output=int(np.float32("nan").view(np.uint32))))
