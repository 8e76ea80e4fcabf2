"""The surface of pyxrt over the simulated device: its classes, methods, texts of errors, and silences.

One difference is on purpose: the real ``wait``, ``start``, ``sync``, ``read``, ``write`` and all destructors hold the
GIL while they last; here a wait on the real clock lets other threads run. Code that depends on that stalls on the real
device. The real constructors of contexts and kernels, and ``register_xclbin``, release it.
"""

from __future__ import annotations

import logging
import operator
import uuid as uuids
from math import inf
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from npu_encoder.simulator.arguments import BUFFER_ARGUMENTS, N_ARGUMENTS, SCALAR_ARGUMENTS, Arguments
from npu_encoder.simulator.buffers import Buffer, poison_when_dead, raw_bytes
from npu_encoder.simulator.config import SimulatorConfig
from npu_encoder.simulator.device import BDF, Npu
from npu_encoder.simulator.enums import AccessMode, BufferFlags, CommandState, DeviceInfo, SyncDirection
from npu_encoder.simulator.errors import ProcessCrashError, StrictnessError
from npu_encoder.simulator.faults import FaultPlan, Site
from npu_encoder.simulator.kernels import COLUMNS, SimulatedXclbin
from npu_encoder.simulator.queues import NEW, Command

INT32 = range(-(1 << 31), 1 << 31)
UINT32 = range(1 << 32)
SLOT_SHIFT = 16
"""A memory group is a bank and, above it, the slot of the context."""
DEVICE_NAME, DEVICE_BDF = DeviceInfo(5), DeviceInfo(0)


logger = logging.getLogger(__name__)


class SimulatedModule(ModuleType):
    """The type of what ``create_module`` returns, which tells it from the real module."""


class Uuid:
    """The name of an xclbin."""

    def __init__(self, value: str) -> None:
        self._value = value

    def to_string(self) -> str:
        return self._value


class XclbinKernel:
    """A kernel's entry in an xclbin."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get_name(self) -> str:
        return self._name

    def get_num_args(self) -> int:
        return N_ARGUMENTS


class Xclbin:
    """A file with the configuration of the device's array."""

    _npu: ClassVar[Npu]

    def __init__(self, path: str) -> None:
        self._content = self._npu.read_xclbin(path)

    def get_uuid(self) -> Uuid:
        return Uuid(_uuid(self._content))

    def get_kernels(self) -> list[XclbinKernel]:
        return [XclbinKernel(self._content.kernel)]


class Device:
    """An open device."""

    _npu: ClassVar[Npu]

    def __init__(self, index: int | str, /) -> None:
        self._handle = self._npu.open(index)

    def register_xclbin(self, xclbin: Xclbin) -> Uuid:
        uuid = _uuid(xclbin._content)
        self._npu.register(self._handle, uuid, xclbin._content)
        return Uuid(uuid)

    def get_info(self, key: Any) -> str:
        info = {DEVICE_NAME: _device_name(self._npu.config), DEVICE_BDF: BDF}
        return info.get(key, "NA")


class HwContext:
    """A place on the device for an xclbin. The third argument, an access mode or QoS, changes nothing."""

    access_mode = AccessMode
    exclusive, shared = AccessMode

    def __init__(self, device: Device, uuid: Uuid, mode: AccessMode | dict[str, int] | None = None, /) -> None:
        del mode
        self._context = device._npu.create_context(device._handle, uuid.to_string())


class Bo:
    """A buffer."""

    flags = BufferFlags
    normal, cacheable, svm, device_only, host_only, p2p = BufferFlags

    def __init__(self, device: Device, size: int, flags: BufferFlags, group: int, /) -> None:
        if not isinstance(flags, BufferFlags):
            raise TypeError("bo(): incompatible constructor arguments")
        self._npu = device._npu
        self._buffer = self._npu.create_buffer(device._handle, size, flags, group)
        poison_when_dead(self, self._buffer)

    def write(self, data: Any, seek: int, /) -> None:
        content, faithful = raw_bytes(data)
        if self._npu.config.strict and not faithful:
            raise StrictnessError("The array given to write() is not C-contiguous: other bytes would be written")
        self._buffer.write(content, seek)

    def read(self, size: int, skip: int, /) -> NDArray[np.int8]:
        return self._buffer.read(size, skip)

    def sync(self, direction: SyncDirection, size: int | None = None, offset: int = 0, /) -> None:
        self._npu.execution.settle()
        length = self._buffer.size if size is None else size
        if direction is SyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE:
            self._buffer.from_device(length, offset)
        elif direction is SyncDirection.XCL_BO_SYNC_BO_TO_DEVICE:
            if self._npu.config.strict and self._buffer.readers:
                raise StrictnessError("The buffer given to sync() is used by a run in flight: wait for its end")
            self._buffer.to_device(length, offset)
        else:
            raise RuntimeError("unsupported sync direction: Invalid argument")

    def map(self) -> memoryview:
        return self._buffer.host.data

    def size(self) -> int:
        return self._buffer.size


class Kernel:
    """The kernel of a hardware context."""

    def __init__(self, context: HwContext, name: str, /) -> None:
        self._context = context._context
        self._context.npu.faults.strike(Site.KERNEL)
        if name != self._context.xclbin.kernel:
            raise RuntimeError(f"No such kernel '{name}': Invalid argument")

    def group_id(self, index: int, /) -> int:
        if index in SCALAR_ARGUMENTS:
            raise IndexError(f"The argument {index} is a number and has no memory group")
        if not 0 <= index < N_ARGUMENTS:
            raise RuntimeError(f"bad argument index '{index}': Invalid argument")
        return self._context.slot << SLOT_SHIFT | index

    def __call__(self, *arguments: Any) -> Run:
        run = Run(self)
        for index, argument in enumerate(arguments):
            run._set_silently(index, argument)
        run.start()
        return run


class Run:
    """One execution of a kernel."""

    def __init__(self, kernel: Kernel, /) -> None:
        self._kernel = kernel
        self._context = kernel._context
        self._npu = self._context.npu
        self._arguments: Arguments = {}
        self._command: Command | None = None

    def set_arg(self, index: int, value: Bo | int, /) -> None:
        if isinstance(value, Bo):
            self._set_buffer(index, value)
            return
        number = _int32(value)
        if index in BUFFER_ARGUMENTS or not 0 <= index < N_ARGUMENTS:
            raise RuntimeError(f"bad argument index '{index}': Invalid argument")
        self._arguments[index] = number

    def start(self) -> None:
        if self._command is not None and self._npu.execution.state(self._command) is NEW:
            raise RuntimeError("bad command state, can't launch")
        self._command = self._npu.start(self._context, dict(self._arguments))

    def wait(self, timeout_ms: int = 0, /) -> CommandState:
        milliseconds = operator.index(timeout_ms)
        if milliseconds not in UINT32:
            raise TypeError("wait(): incompatible function arguments")
        if self._command is None:
            return NEW
        return self._npu.execution.wait(self._command, milliseconds / 1000 or inf)

    def state(self) -> CommandState:
        self._npu.config.clock.poll()
        return NEW if self._command is None else self._npu.execution.state(self._command)

    def _set_buffer(self, index: int, bo: Bo) -> None:
        if index >= N_ARGUMENTS:
            raise ProcessCrashError(f"The argument {index} of a kernel with {N_ARGUMENTS} arguments is a buffer")
        if index not in BUFFER_ARGUMENTS:
            raise RuntimeError(f"bad argument index '{index}': Invalid argument")
        self._arguments[index] = self._in_group(bo._buffer, self._kernel.group_id(index), index)

    def _in_group(self, buffer: Buffer, group: int, index: int) -> Buffer:
        """Return the buffer, or a copy of it where it was made for another memory group, as XRT does."""
        if buffer.group == group:
            return buffer
        if self._npu.config.strict:
            raise StrictnessError(
                f"The buffer of argument {index} is of group {buffer.group}, not {group}: a copy is used"
            )
        logger.warning(
            "The argument %d is allocated in bank %d, the compute unit is connected to bank %d. Allocating local copy "
            "of argument buffer in connected bank.",
            index,
            buffer.group,
            group,
        )
        return buffer.clone(group)

    def _set_silently(self, index: int, value: Any) -> None:
        try:
            self.set_arg(index, value)
        except (RuntimeError, TypeError) as error:
            if self._npu.config.strict:
                raise StrictnessError(f"The argument {index} would be dropped: {error}") from error


def create_module(config: SimulatorConfig | None = None, faults: FaultPlan | None = None) -> SimulatedModule:
    """Make a module like ``pyxrt``, with one simulated device that no other module shares.

    Raises:
        ModuleNotFoundError: if ``faults`` says that there is none.
    """
    npu = Npu(config or SimulatorConfig(), faults or FaultPlan())
    if npu.faults.strike(Site.IMPORT):
        raise ModuleNotFoundError("No module named 'pyxrt'", name="pyxrt")
    module = SimulatedModule("pyxrt", "Simulated; computes on the host.")
    surface = {
        "device": type("device", (Device,), {"_npu": npu}),
        "xclbin": type("xclbin", (Xclbin,), {"_npu": npu}),
        "uuid": Uuid,
        "hw_context": HwContext,
        "kernel": Kernel,
        "run": Run,
        "bo": Bo,
        "xclBOSyncDirection": SyncDirection,
        "ert_cmd_state": CommandState,
        "xrt_info_device": DeviceInfo,
    }
    for name, value in surface.items():
        setattr(module, name, value)
    return module


def is_simulated(module: ModuleType) -> bool:
    """Return whether ``module`` is a simulator instead of pyxrt."""
    return isinstance(module, SimulatedModule)


def _device_name(config: SimulatorConfig) -> str:
    purpose = ", for timing only: its results are wrong" if config.timing_only else ""
    return f"Simulated NPU, {COLUMNS} columns{purpose}"


def _uuid(xclbin: SimulatedXclbin) -> str:
    return str(uuids.UUID(xclbin.sha256[:32]))


def _int32(value: object) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError("set_arg(): incompatible function arguments") from error
    if number not in INT32:
        raise TypeError("set_arg(): incompatible function arguments")
    return number
