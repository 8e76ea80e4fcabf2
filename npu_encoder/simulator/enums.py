"""The enumerations of pyxrt with their real values.

pybind11 gives each a class of its own, whose members convert with ``int()`` but equal no integer.
"""

from __future__ import annotations

from enum import Enum


class _NativeEnum(Enum):
    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return int(self.value)


class SyncDirection(_NativeEnum):
    XCL_BO_SYNC_BO_TO_DEVICE = 0
    XCL_BO_SYNC_BO_FROM_DEVICE = 1
    XCL_BO_SYNC_BO_GMIO_TO_AIE = 2
    XCL_BO_SYNC_BO_AIE_TO_GMIO = 3


class CommandState(_NativeEnum):
    """``RUNNING`` (3) exists in C only. A command is ``NEW`` until it ends."""

    ERT_CMD_STATE_NEW = 1
    ERT_CMD_STATE_QUEUED = 2
    ERT_CMD_STATE_COMPLETED = 4
    ERT_CMD_STATE_ERROR = 5
    ERT_CMD_STATE_ABORT = 6
    ERT_CMD_STATE_SUBMITTED = 7
    ERT_CMD_STATE_TIMEOUT = 8
    ERT_CMD_STATE_NORESPONSE = 9
    ERT_CMD_STATE_SKERROR = 10
    ERT_CMD_STATE_SKCRASHED = 11


class DeviceInfo(_NativeEnum):
    bdf = 0
    interface_uuid = 1
    kdma = 2
    max_clock_frequency_mhz = 3
    m2m = 4
    name = 5  # type: ignore[assignment]  # shadows Enum.name on the class, as in pybind11
    nodma = 6
    offline = 7
    electrical = 8
    thermal = 9
    mechanical = 10
    memory = 11
    platform = 12
    pcie_info = 13
    host = 14
    dynamic_regions = 17
    vmr = 18


class BufferFlags(_NativeEnum):
    normal = 0
    cacheable = 1 << 24
    svm = 1 << 27
    device_only = 1 << 28
    host_only = 1 << 29
    p2p = 1 << 30


class AccessMode(_NativeEnum):
    exclusive = 0
    shared = 1
