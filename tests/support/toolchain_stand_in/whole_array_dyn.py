"""In place of mlir-aie's example with run-time shapes: it is compiled for A_elements, B_elements and C_elements."""

import struct
from typing import Any

from whole_array import write


class Specialized:
    """A design with everything but the shape."""

    def __init__(self, design: dict[str, Any]) -> None:
        self._design = design

    def compile(self, *, xclbin_path: str, inst_path: str) -> None:
        """Write the array and instructions that nobody needs."""
        write(xclbin_path, inst_path, M=0, K=0, N=0, **self._design)

    def instructions(self, *, M: int, K: int, N: int) -> tuple[int, ...]:  # noqa: N803
        """Return the words of a shape that fits."""
        tile, columns = self._design, self._design["n_aie_cols"]
        if M % (4 * tile["m"]) or K % tile["k"] or N % (tile["n"] * columns):
            raise ValueError("M must be a multiple of m * n_aie_rows")
        sizes = {"A_elements": M * K, "B_elements": K * N, "C_elements": M * N}
        if any(size > tile[operand] for operand, size in sizes.items()):
            raise ValueError("it does not fit")
        return struct.unpack("<4I", struct.pack("<4I", 1, M, K, N))


class whole_array_dyn:  # noqa: N801
    """Named as the example names it."""

    @staticmethod
    def specialize(**design: Any) -> Specialized:
        """Fix everything but the shape."""
        return Specialized(design)
