"""Compile one array for all shapes, and the instructions of each: a program for the Python of the toolchain.

It drives mlir-aie's example ``whole_array_dyn.py``, whose cores read their trip counts when a product starts. Nothing
of this package is imported here. The argument is one JSON object::

    {"design": "/.../whole_array", "xclbin": "a.xclbin", "tile": [64, 64, 32], "dtypes": ["bf16", "f32"],
     "shapes": {"gemm.insts.bin": [1536, 512, 2048]}}
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = 8
DEVICE = "npu2"


def main(request: dict[str, Any]) -> None:
    """Write the xclbin and all instructions."""
    sys.path.insert(0, request["design"])
    from aie import iron  # noqa: PLC0415
    from whole_array import _device_for  # noqa: PLC0415
    from whole_array_dyn import whole_array_dyn  # noqa: PLC0415

    iron.set_current_device(_device_for(DEVICE, COLUMNS))
    shapes = request["shapes"].values()
    tile_m, tile_k, tile_n = request["tile"]
    dtype_in, dtype_out = request["dtypes"]
    array = whole_array_dyn.specialize(
        A_elements=max(m * k for m, k, _ in shapes),
        B_elements=max(k * n for _, k, n in shapes),
        C_elements=max(m * n for m, _, n in shapes),
        m=tile_m,
        k=tile_k,
        n=tile_n,
        n_aie_cols=COLUMNS,
        dtype_in_str=dtype_in,
        dtype_out_str=dtype_out,
    )
    xclbin = Path(request["xclbin"])
    array.compile(xclbin_path=str(xclbin), inst_path=str(xclbin.with_suffix(".unused-insts.bin")))
    for path, (m, k, n) in request["shapes"].items():
        words = np.asarray(array.instructions(M=m, K=k, N=n), np.uint32)
        Path(path).write_bytes(words.astype("<u4").tobytes())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
