"""The one place that imports pyxrt, the Python binding of the NPU's driver.

pyxrt is on no package index: it comes with the system packages of XRT. A simulator stands in for it only where it was
asked for; a missing driver is an error, never a reason to simulate.
"""

from __future__ import annotations

import importlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from npu_encoder.errors import DeviceLostError, DriverMissingError

OPEN_ATTEMPTS = 3
OPEN_PAUSE_S = 0.2


class Clock(Protocol):
    """What the module ``time`` offers; the simulator can bring one that needs no time to pass."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        ...


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


def load_driver(*, simulator: bool = False, scenario: Path | None = None) -> Driver:
    """The driver of the NPU, or its simulator.

    Args:
        simulator: whether to use it.
        scenario: for the simulator: the file that says how fast its device is, and what goes wrong with it.

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
    """Open the NPU. Once a process: reopening in a loop ends in ENODEV, so the attempts are few.

    Raises:
        DeviceLostError: if it cannot be opened; the message holds the driver's.
    """
    for attempt in range(1, OPEN_ATTEMPTS + 1):
        try:
            return driver.xrt.device(index)
        except RuntimeError as error:
            if attempt == OPEN_ATTEMPTS:
                raise DeviceLostError(
                    f"cannot open NPU {index}: {str(error).strip()}; is /dev/accel/accel{index} there and readable?"
                ) from error
            driver.clock.sleep(OPEN_PAUSE_S)
    raise AssertionError("unreachable")


def _how_to_install(error: ImportError) -> str:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"pyxrt cannot be imported ({error}). It is no pip package: install the XRT system packages (base, npu and the "
        f"amdxdna plugin) built for Python {python}, put their python directory on PYTHONPATH (source "
        "/opt/xilinx/xrt/setup.sh), and check that Linux is 6.14 or later (6.10 with the out-of-tree driver), that "
        "/dev/accel/accel0 exists and that `ulimit -l` says unlimited. Details: npu_encoder/README.md"
    )
