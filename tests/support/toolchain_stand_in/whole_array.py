"""In place of mlir-aie's example: takes its options, checks what it asserts, and writes files where it writes them.

The variable STAND_IN makes it fail as the real one does: ``no-xclbinutil`` leaves the xclbin out and says that all is
well, ``no-instructions`` leaves the instructions out, ``error`` ends with a traceback.
"""

import argparse
import os
import struct
from pathlib import Path
from typing import Any


def _device_for(name: str, n_columns: int) -> tuple[str, int]:
    return name, n_columns


def write(xclbin: str, instructions: str, **design: Any) -> None:
    """Write the two files, each with the design in it, unless it shall fail."""
    failure = os.environ.get("STAND_IN", "")
    if failure == "error":
        raise RuntimeError("error: 'aie.tile' op number of input DMA channels exceeded!")
    if failure != "no-xclbinutil":
        Path(xclbin).write_bytes(b"xclbin2\0" + repr(sorted(design.items())).encode())
    if failure != "no-instructions":
        Path(instructions).write_bytes(words(**design))
    with Path(os.environ["STAND_IN_LOG"]).open("a") as log:
        log.write(f"{design} {Path(os.environ['PEANO_INSTALL_DIR']).name}\n")


def words(**design: Any) -> bytes:
    """Return four words that follow from the shape."""
    return struct.pack("<4I", 1, *(design[size] for size in "MKN"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dev", choices=["npu", "npu2"], default="npu")
    for size in "MKNmkn":
        parser.add_argument(f"-{size}", type=int, required=True)
    parser.add_argument("--n-aie-cols", type=int, choices=[1, 2, 4, 8], default=4)
    parser.add_argument("--emulate-bf16-mmul-with-bfp16", type=bool, default=False)
    parser.add_argument("--dtype_in", choices=["bf16", "i8", "i16"], default="i16")
    parser.add_argument("--dtype_out", choices=["bf16", "i8", "i16", "f32", "i32"], default="i32")
    parser.add_argument("--xclbin-path")
    parser.add_argument("--insts-path")
    options = vars(parser.parse_args())
    assert options["M"] % (2 * 4 * options["m"]) == 0, "an even number of row blocks"
    assert options["K"] % options["k"] == 0
    assert options["N"] % (options["n"] * options["n_aie_cols"]) == 0
    assert (options["dev"], options["n_aie_cols"]) == ("npu2", 8)
    write(options.pop("xclbin_path"), options.pop("insts_path"), **options)


if __name__ == "__main__":
    main()
