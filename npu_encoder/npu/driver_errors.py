"""What pyxrt raises, told as this package's errors.

pybind11 turns the C++ exceptions of XRT into Python's. Nearly all become ``RuntimeError``, whose text says what
happened; ``std::out_of_range`` becomes ``IndexError``, ``std::bad_alloc`` ``MemoryError``, ``std::invalid_argument``
``ValueError``, and arguments that fit no signature are a ``TypeError``.
"""

from __future__ import annotations

from typing import Final

from npu_encoder.errors import (
    DeviceBusyError,
    DeviceError,
    DeviceLostError,
    DeviceMemoryError,
    DriverMismatchError,
)

DRIVER_ERRORS: Final = (RuntimeError, IndexError, MemoryError, ValueError, OverflowError, TypeError)

MISMATCHES: Final = (IndexError, ValueError, OverflowError, TypeError)

SIGNS: Final[tuple[tuple[str, type[DeviceError]], ...]] = (
    ("No such device", DeviceLostError),
    ("err=-19", DeviceLostError),
    ("CREATE_HWCTX", DeviceBusyError),
    ("err=-12", DeviceMemoryError),
    ("err=-11", DeviceMemoryError),
    ("Cannot allocate memory", DeviceMemoryError),
    ("Resource temporarily unavailable", DeviceMemoryError),
)
"""Parts of the text of a ``RuntimeError``, and what they mean; the first that fits counts."""

ADVICE: Final[dict[type[DeviceError], str]] = {
    DeviceBusyError: "All hardware contexts of the NPU may be taken: see who holds them with `xrt-smi examine -r "
    "aie-partitions`, and end those or lower npu_contexts",
    DeviceMemoryError: "Locked memory may be limited: `ulimit -l` has to say unlimited",
    DriverMismatchError: "The kernel or this version of pyxrt has another interface: compile the kernels again with "
    "the pinned toolchain (`amanuensis npu build`), and see docs/npu.md for the versions of XRT",
}


def device_error(error: BaseException, doing: str) -> DeviceError:
    """Return the error of this package for one of pyxrt.

    Args:
        error: one of ``DRIVER_ERRORS``.
        doing: the work that it ended: "starting a run".
    """
    kind = _kind(error)
    text = str(error).strip() or type(error).__name__
    advice = f". {ADVICE[kind]}" if kind in ADVICE else ""
    return kind(f"The NPU's driver failed while {doing}: {text}{advice}")


def _kind(error: BaseException) -> type[DeviceError]:
    if isinstance(error, MISMATCHES):
        return DriverMismatchError
    if isinstance(error, MemoryError):
        return DeviceMemoryError
    return next((kind for sign, kind in SIGNS if sign in str(error)), DeviceError)
