"""The one place that imports pyxrt, the Python binding of the NPU's driver.

pyxrt is on no package index: it comes with the system packages of XRT. A simulator takes its place only where it was
asked for; a missing driver is an error, never a reason to simulate.
"""

from __future__ import annotations

import importlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from npu_encoder.clock import Clock
from npu_encoder.errors import DeviceLostError, DriverMissingError
from npu_encoder.npu.driver_errors import DRIVER_ERRORS, device_error

OPEN_ATTEMPTS = 3
OPEN_PAUSE_S = 0.2


@dataclass(frozen=True)
class Driver:
    """pyxrt, or the simulator in its place.

    Attributes:
        xrt: the module; untyped, as pyxrt is.
        simulated: whether it is the simulator.
        clock: the time that its runs take.
    """

    xrt: Any
    simulated: bool
    clock: Clock = time

    def sync_to_device(self, bo: Any, n_bytes: int, offset: int = 0) -> None:
        """Let the device see what the host wrote into a part of the buffer ``bo``."""
        bo.sync(self.xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE, n_bytes, offset)

    def sync_from_device(self, bo: Any, n_bytes: int) -> None:
        """Let the host see what the device wrote into the beginning of the buffer ``bo``."""
        bo.sync(self.xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE, n_bytes, 0)


def load_driver(*, simulator: bool = False, scenario: Path | None = None) -> Driver:
    """Load the driver of the NPU, or its simulator.

    Args:
        simulator: whether to use the simulator.
        scenario: the file that says how fast the simulated device is, and what goes wrong with it.

    Raises:
        DriverMissingError: if pyxrt cannot be imported; the message says what to install.
        InvalidScenarioError: names what is wrong with ``scenario``.
    """
    try:
        if simulator:
            from npu_encoder.simulator.scenario import simulate  # noqa: PLC0415

            return Driver(simulate(scenario), simulated=True)
        return Driver(importlib.import_module("pyxrt"), simulated=False)
    except ImportError as error:
        raise DriverMissingError(_how_to_install(error)) from error


def open_device(driver: Driver, index: int = 0) -> Any:
    """Open the NPU, once per process: reopening in a loop ends in ENODEV, so the attempts are few.

    Raises:
        DeviceLostError: if it cannot be opened; the message holds the driver's.
    """
    for attempt in range(1, OPEN_ATTEMPTS + 1):
        try:
            return driver.xrt.device(index)
        except DRIVER_ERRORS as error:
            if attempt == OPEN_ATTEMPTS:
                raise DeviceLostError(
                    f"The NPU {index} cannot be opened: {str(error).strip()}. Find the cause with `amanuensis doctor "
                    "--kernels DIR`: the node /dev/accel, the IOMMU, the plugin of XRT and the rights are looked at."
                ) from error
            driver.clock.sleep(OPEN_PAUSE_S)
    raise AssertionError("unreachable")


def device_name(driver: Driver) -> str:
    """Open the NPU and return the driver's name for it.

    Raises:
        DeviceLostError: if it cannot be opened.
    """
    device = open_device(driver)
    with DeviceErrors("asking for the device's name"):
        return str(device.get_info(driver.xrt.xrt_info_device.name))


class DeviceErrors:
    """Work with pyxrt, whose exceptions become a ``DeviceError``.

    Only calls of pyxrt belong inside, because it raises what a mistake in Python raises too. A class, because runs are
    polled often, and a generator would cost several times as much.

    Args:
        doing: the work, for the message: "starting a run".
    """

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        if isinstance(error, DRIVER_ERRORS):
            raise device_error(error, self._doing) from error


def _how_to_install(error: ImportError) -> str:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"The NPU's driver pyxrt cannot be imported ({error}). It is no pip package: install the XRT system packages "
        f"built for Python {python}, and let this Python find the binding, which distributions put into "
        "/usr/lib/python3/dist-packages and AMD's own packages into /opt/xilinx/xrt/python. `amanuensis doctor "
        "--kernels DIR` looks for it and names the next command; docs/npu.md has the packages of each distribution."
    )
