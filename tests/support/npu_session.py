"""A GEMM kernel opened the way pyxrt wants it: tests of the simulator and of the hardware share it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPCODE = 3
INPUT_DTYPES = {"int8": np.int8, "bf16": np.uint16}
OUTPUT_DTYPES = {"int32": np.int32, "f32": np.float32}


@dataclass
class Session:
    """Everything between ``xclbin`` and the first run; ``xrt`` is pyxrt or its simulator."""

    xrt: Any
    manifest: dict[str, Any]
    device: Any
    context: Any
    kernel: Any
    instructions: Any
    a: Any
    b: Any
    c: Any

    @classmethod
    def open(cls, xrt: Any, directory: Path, name: str, device: Any = None) -> Session:
        """Open the kernel ``name`` of ``directory`` and upload its instructions."""
        manifest = json.loads((directory / f"{name}.json").read_text())
        device = device or xrt.device(0)
        context = xrt.hw_context(device, device.register_xclbin(xrt.xclbin(str(directory / f"{name}.xclbin"))))
        kernel = xrt.kernel(context, manifest["kernel"])
        words = np.fromfile(directory / f"{name}.insts.bin", np.uint32)
        instructions = xrt.bo(device, words.nbytes, xrt.bo.cacheable, kernel.group_id(1))
        instructions.write(words, 0)
        instructions.sync(xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE)
        m, k, n = (manifest[size] for size in "mkn")
        element = np.dtype(INPUT_DTYPES[manifest["in_dtype"]]).itemsize
        a, b, c = (
            xrt.bo(device, size, xrt.bo.host_only, kernel.group_id(group))
            for size, group in ((m * k * element, 3), (k * n * element, 4), (m * n * 4, 5))
        )
        return cls(xrt, manifest, device, context, kernel, instructions, a, b, c)

    def send_small_integers(self, seed: int = 0) -> NDArray[Any]:
        """Upload random operands; return their product, which both precisions compute exactly."""
        m, k, n = (self.manifest[size] for size in "mkn")
        random = np.random.default_rng(seed)
        a, b = random.integers(-8, 9, (m, k)), random.integers(-8, 9, (k, n))
        self.send(self._encode(a), self._encode(b))
        product: NDArray[Any] = (a.astype(np.float64) @ b).astype(self.output_dtype)
        return product

    def send(self, a: NDArray[Any], b: NDArray[Any]) -> None:
        """Upload operands, in the kernel's precision."""
        for bo, values in ((self.a, a), (self.b, b)):
            bo.write(np.ascontiguousarray(values), 0)
            bo.sync(self.xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE)

    def run(self) -> Any:
        """Start ``c = a @ b``."""
        return self.kernel(OPCODE, self.instructions, self.manifest["n_instructions"], self.a, self.b, self.c)

    def output(self) -> NDArray[Any]:
        """Download ``c``."""
        self.c.sync(self.xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE)
        bits = self.c.read(self.c.size(), 0)
        output: NDArray[Any] = bits.view(self.output_dtype).reshape(self.manifest["m"], self.manifest["n"])
        return output

    @property
    def output_dtype(self) -> Any:
        return OUTPUT_DTYPES[self.manifest["out_dtype"]]

    def _encode(self, values: NDArray[Any]) -> NDArray[Any]:
        if self.manifest["in_dtype"] == "int8":
            return values.astype(np.int8)
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
