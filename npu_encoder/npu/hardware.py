"""Everything of one hardware context that is made through pyxrt: the context, its kernel, and all buffers.

The calling sequence is that of mlir-aie's examples: ``kernel(3, instructions, words, a, b, c)``. What can be made once
is not made for each call. pyxrt's ``kernel(...)`` drops arguments it does not like without a word, so they are checked
before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npu_encoder.errors import DeviceError, NoKernelError
from npu_encoder.npu.buffers import Buffers, ResidentWeight
from npu_encoder.npu.driver import DeviceErrors, Driver
from npu_encoder.npu.gemm import INPUT_DTYPES, OUTPUT_DTYPES, GemmInput
from npu_encoder.npu.kernels import ENTRY, Kernel
from npu_encoder.npu.known_answers import question_rows

OPCODE = 3
INSTRUCTIONS, A, B, C = 1, 3, 4, 5  # argument numbers of the kernel; 0 is the opcode, 2 the number of words
KERNEL_ARGUMENTS = 8
"""A compiled kernel says that it takes so many, three and five buffers, of which a product uses the first three."""
MAX_INT32 = 2**31 - 1


class Hardware:
    """The part of a hardware context that a rebuild replaces.

    Args:
        driver: pyxrt or its simulator.
        device: the open device.
        kernels: the shapes of one xclbin, at least one.
    """

    def __init__(self, driver: Driver, device: Any, kernels: Sequence[Kernel]) -> None:
        self._driver = driver
        self._device = device
        self._kernels = kernels
        self._idle: dict[Kernel, list[Buffers]] = defaultdict(list)
        self._weights: dict[str, Any] = {}
        self._instructions: dict[Kernel, Any] = {}
        self._kernel: Any = None
        self._context: Any = None

    def open(self) -> None:
        """Take a hardware context and load the instructions of all kernels.

        Raises:
            DeviceError: if the device has no room for the context.
            NoKernelError: if the xclbin is not what its manifest says.
        """
        xrt = self._driver.xrt
        with DeviceErrors("reading an xclbin"):
            xclbin = xrt.xclbin(str(self._kernels[0].xclbin))
            entries = {entry.get_name(): entry.get_num_args() for entry in xclbin.get_kernels()}
        _check_entry(entries, self._kernels[0])
        with DeviceErrors("opening a hardware context"):
            self._context = xrt.hw_context(self._device, self._device.register_xclbin(xclbin))
            self._kernel = xrt.kernel(self._context, ENTRY)
            for kernel in self._kernels:
                self._instructions[kernel] = self._filled(kernel.instructions, xrt.bo.cacheable, INSTRUCTIONS)

    def release(self) -> None:
        """Let go of everything, in the order in which it has to go: buffers, kernel, context."""
        self._idle.clear()
        self._weights.clear()
        self._instructions.clear()
        self._kernel = None
        self._context = None

    def load(self, weight: ResidentWeight) -> None:
        """Make a weight resident.

        Raises:
            DeviceError: if the device has no room for it.
        """
        with DeviceErrors(f"loading the weight {weight.name}"):
            self._weights[weight.name] = self._filled(weight.values, self._driver.xrt.bo.host_only, B)

    def launch(self, kernel: Kernel, weight: ResidentWeight, x: GemmInput) -> tuple[Any, Buffers]:
        """Begin ``x @ weight``.

        Returns:
            pyxrt's run, and the buffers that it uses: ``recycle`` them when it is complete.

        Raises:
            DeviceError: if the device does not take the run.
        """
        idle = self._idle[kernel]
        buffers = idle.pop() if idle else self._new_buffers(kernel)
        buffers.fill(x)
        with DeviceErrors("starting a run"):
            self._driver.sync_to_device(buffers.a_bo, buffers.a.nbytes)
            row_bytes = buffers.c[0].nbytes
            for row in range(kernel.m)[question_rows(kernel)]:
                self._driver.sync_to_device(buffers.c_bo, row_bytes, row * row_bytes)
            return self._call(kernel, weight, buffers), buffers

    def fetch(self, buffers: Buffers) -> None:
        """Let the host see the product of a run that is complete.

        Raises:
            DeviceError: if the device is gone.
        """
        with DeviceErrors("reading a product"):
            self._driver.sync_from_device(buffers.c_bo, buffers.c.nbytes)

    def recycle(self, buffers: Buffers) -> None:
        """Keep buffers that no run uses any more: there are as many as were ever in flight together."""
        self._idle[buffers.kernel].append(buffers)

    def _call(self, kernel: Kernel, weight: ResidentWeight, buffers: Buffers) -> Any:
        words = kernel.instructions.size
        arguments = (self._instructions[kernel], buffers.a_bo, self._weights[weight.name], buffers.c_bo)
        # pyxrt would leave an argument that it cannot convert unset, and start the run all the same.
        if not all(isinstance(bo, self._driver.xrt.bo) for bo in arguments) or not 0 < words <= MAX_INT32:
            raise DeviceError(f"The arguments of {kernel.name} are not three buffers and their instructions")
        instructions, *operands = arguments
        return self._kernel(OPCODE, instructions, words, *operands)

    def _new_buffers(self, kernel: Kernel) -> Buffers:
        a, a_bo = self._mapped((kernel.m, kernel.k), INPUT_DTYPES[kernel.precision], A)
        c, c_bo = self._mapped((kernel.m, kernel.n), OUTPUT_DTYPES[kernel.precision], C)
        return Buffers.of(kernel, a, c, a_bo, c_bo)

    def _mapped(self, shape: tuple[int, int], dtype: type[np.generic], argument: int) -> tuple[NDArray[Any], Any]:
        count = shape[0] * shape[1]
        with DeviceErrors("making a buffer"):
            bo = self._allocate(count * np.dtype(dtype).itemsize, self._driver.xrt.bo.host_only, argument)
            view = bo.map()
        return np.frombuffer(view, dtype, count).reshape(shape), bo

    def _filled(self, content: NDArray[Any], flags: Any, argument: int) -> Any:
        bo = self._allocate(content.nbytes, flags, argument)
        # pyxrt corrupts what is not contiguous, silently.
        bo.write(np.ascontiguousarray(content), 0)
        self._driver.sync_to_device(bo, content.nbytes)
        return bo

    def _allocate(self, n_bytes: int, flags: Any, argument: int) -> Any:
        return self._driver.xrt.bo(self._device, n_bytes, flags, self._kernel.group_id(argument))


def _check_entry(entries: dict[str, int], kernel: Kernel) -> None:
    # One buffer more than the kernel takes crashes the process inside XRT.
    if entries.get(ENTRY, 0) <= C:
        raise NoKernelError(
            f"The file {kernel.xclbin.name} has no {ENTRY} of {KERNEL_ARGUMENTS} arguments, only {entries}: compile it "
            "with `amanuensis npu build`"
        )
