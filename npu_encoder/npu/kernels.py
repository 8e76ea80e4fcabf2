"""The compiled GEMM kernels of a directory: which shapes they compute, and whether their files can be trusted.

A kernel is three files: ``<name>.xclbin`` (the configuration of the array), ``<name>.insts.bin`` (the instructions of
one shape, uint32 words) and ``<name>.json`` (the manifest). Kernels may share one xclbin under several names; the
device then needs one hardware context for all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from npu_encoder.bfp16 import ROUNDINGS, Rounding
from npu_encoder.errors import NoKernelError
from npu_encoder.npu.gemm import Precision

CORE_ROWS = 4
CORE_COLUMNS = 8
"""mlir-aie's whole-array GEMM on npu2 uses so many rows and columns of cores."""

ENTRY = "MLIR_AIE"
LAYOUT = "row_major"

OUT_DTYPES = {"int8": "int32", "bf16": "f32"}

Bf16 = Literal["native", "bfp16"]
"""How a kernel multiplies bf16: as it is, or rounded to blocks of 8 numbers with one exponent (``npu_encoder.bfp16``),
which is faster. IRON does the latter unless it is told otherwise, mlir-aie's example the former.
"""
BF16_MODES: Final = get_args(Bf16)


@dataclass(frozen=True, eq=False)
class Kernel:
    """One compiled shape: ``[m, k] @ [k, n]``.

    Attributes:
        name: stem of its files.
        m, k, n: sizes that it was compiled for; smaller operands are padded.
        precision: the precision of both operands; the product is int32 for int8, float32 for bf16.
        bf16: how a bf16 kernel multiplies; "native" for int8.
        rounding: the mode of the cores; it shows in the conversion to bfp16 only.
        tile_m: rows of the product that one core computes at a time.
        xclbin: path of the array's configuration.
        xclbin_sha256: the digest of that file; kernels of one xclbin share a hardware context.
        instructions: uint32 words, one sequence per shape.
    """

    name: str
    m: int
    k: int
    n: int
    precision: Precision
    bf16: Bf16
    rounding: Rounding
    tile_m: int
    xclbin: Path
    xclbin_sha256: str
    instructions: NDArray[np.uint32]

    @property
    def work(self) -> int:
        """Multiplications of one run."""
        return self.m * self.k * self.n


def read_kernels(directory: Path, *, simulated: bool) -> tuple[Kernel, ...]:
    """Read every kernel of ``directory``, and check its files against its manifest.

    Args:
        directory: the directory that holds the three files of each kernel.
        simulated: whether the driver in use is the simulator, which takes only simulated kernels; the real driver
            takes none of them.

    Raises:
        NoKernelError: names the file that is missing, damaged or meant for the other driver.
    """
    manifests = sorted(directory.glob("*.json"))
    if not manifests:
        raise NoKernelError(
            f"The directory {directory} holds no kernel manifest (*.json): make them with `amanuensis npu build`"
        )
    kernels = tuple(_read_kernel(path, simulated=simulated) for path in manifests)
    kinds = {(kernel.bf16, kernel.rounding) for kernel in kernels if kernel.precision == "bf16"}
    if len(kinds) > 1:
        raise NoKernelError(
            f"The kernels of {directory} multiply bf16 in several ways ({sorted(kinds)}), so a window's states would "
            "depend on its length: compile all alike"
        )
    return kernels


def kernels_for_weight(kernels: Iterable[Kernel], k: int, n: int, precision: Precision) -> list[Kernel]:
    """Return the kernels for a weight ``[k, n]``: those of the smallest padded K and N, one per M, smallest M first.

    Raises:
        NoKernelError: if no kernel is large enough.
    """
    of_precision = [kernel for kernel in kernels if kernel.precision == precision]
    fitting = [kernel for kernel in of_precision if kernel.k >= k and kernel.n >= n]
    if not fitting:
        sizes = sorted({(kernel.k, kernel.n) for kernel in of_precision})
        raise NoKernelError(
            f"In the kernels' directory no {precision} kernel fits K={k}, N={n} at any M: compile one. It has (K, N) = "
            f"{sizes}."
        )
    smallest = min(fitting, key=lambda kernel: (kernel.k * kernel.n, kernel.k))
    same = {kernel.m: kernel for kernel in fitting if (kernel.k, kernel.n) == (smallest.k, smallest.n)}
    return [same[m] for m in sorted(same)]


def kernel_for_rows(kernels: Sequence[Kernel], rows: int) -> Kernel:
    """Return the first of ``kernels`` (smallest M first) with room for ``rows`` and its known-answer rows.

    Raises:
        NoKernelError: if even the largest is too small.
    """
    for kernel in kernels:
        if rows <= capacity(kernel):
            return kernel
    largest = kernels[-1]
    raise NoKernelError(
        f"No {largest.precision} kernel fits M={rows}, K={largest.k}, N={largest.n}: compile a larger one than "
        f"{largest.name}, which takes {capacity(largest)} rows"
    )


def capacity(kernel: Kernel) -> int:
    """Return the number of rows that a caller may fill: all but one known-answer row per row of cores."""
    return kernel.m - CORE_ROWS


def _read_kernel(path: Path, *, simulated: bool) -> Kernel:
    try:
        return _checked_kernel(path, json.loads(path.read_text()), simulated=simulated)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoKernelError(
            f"The file {path.name} is not a kernel manifest with its files; copy or compile the kernel again: "
            f"{type(error).__name__}: {error}"
        ) from error


def _checked_kernel(path: Path, manifest: dict[str, Any], *, simulated: bool) -> Kernel:
    _check_driver(path, manifest["simulated"], simulated=simulated)
    _check_conventions(path, manifest)
    tile_m = _check_shape(path, manifest)

    xclbin, insts = path.with_suffix(".xclbin"), path.with_suffix(".insts.bin")
    _check_digest(xclbin, xclbin.read_bytes(), manifest["xclbin_sha256"])
    words = insts.read_bytes()
    _check_digest(insts, words, manifest["insts_sha256"])
    if not words or len(words) != 4 * manifest["n_instructions"]:
        raise NoKernelError(
            f"The file {insts.name} holds {len(words)} bytes, not {manifest['n_instructions']} words: copy or compile "
            "the kernel again"
        )

    return Kernel(
        name=manifest["name"],
        m=manifest["m"],
        k=manifest["k"],
        n=manifest["n"],
        precision=manifest["in_dtype"],
        bf16=manifest["bf16"] if manifest["in_dtype"] == "bf16" else "native",
        rounding=manifest["rounding"],
        tile_m=tile_m,
        xclbin=xclbin,
        xclbin_sha256=manifest["xclbin_sha256"],
        instructions=np.frombuffer(words, np.uint32),
    )


def _check_driver(path: Path, made_for_simulator: object, *, simulated: bool) -> None:
    if made_for_simulator is not simulated:
        kind = {True: "simulated", False: "real"}
        raise NoKernelError(
            f"The file {path.name} is a {kind[bool(made_for_simulator)]} kernel, but the driver in use is "
            f"{kind[simulated]}: name a directory of {kind[simulated]} kernels"
        )


def _check_conventions(path: Path, manifest: dict[str, Any]) -> None:
    if manifest["in_dtype"] not in OUT_DTYPES:
        raise _unusable(path, f"in_dtype is {manifest['in_dtype']!r}, not one of {list(OUT_DTYPES)}")
    if manifest["rounding"] not in ROUNDINGS:
        raise _unusable(path, f"rounding is {manifest['rounding']!r}, not one of {list(ROUNDINGS)}")
    if manifest["in_dtype"] == "bf16" and manifest.get("bf16") not in BF16_MODES:
        raise _unusable(path, f"bf16 is {manifest.get('bf16')!r}, not one of {list(BF16_MODES)}")
    expected = {
        "name": path.stem,
        "out_dtype": OUT_DTYPES[manifest["in_dtype"]],
        "layout": LAYOUT,
        "kernel": ENTRY,
    }
    for field, value in expected.items():
        if manifest[field] != value:
            raise _unusable(path, f"{field} is {manifest[field]!r}, not {value!r}")


def _check_shape(path: Path, manifest: dict[str, Any]) -> int:
    """Check the rules of the whole-array design; return the rows of a tile."""
    tile_m, tile_k, tile_n = manifest["tile"]
    steps = {"m": CORE_ROWS * tile_m, "k": tile_k, "n": CORE_COLUMNS * tile_n}
    for field, step in steps.items():
        size = manifest[field]
        if not (isinstance(size, int) and isinstance(step, int) and step > 0 and size > 0 and size % step == 0):
            raise _unusable(path, f"{field} = {size!r} is no positive multiple of {step!r}")
    return int(tile_m)


def _check_digest(path: Path, content: bytes, expected: str) -> None:
    if hashlib.sha256(content).hexdigest() != expected:
        raise NoKernelError(f"The file {path.name} does not match the sha256 of its manifest: copy or compile it again")


def _unusable(path: Path, what: str) -> NoKernelError:
    return NoKernelError(f"In {path.name}, {what}: compile the kernel again with `amanuensis npu build`")
