"""Simulated kernels: files in the layout of compiled ones that say what to compute instead of how."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from npu_encoder.simulator.numerics import Bf16, Rounding
from npu_encoder.weights import FEED_FORWARD_FACTOR, EncoderDimensions

MAGIC = b"SIMULATED XCLBIN, FOR NO HARDWARE\n"
"""A real xclbin begins with "xclbin2"."""

KERNEL_NAME = "MLIR_AIE"
ROWS = 4
COLUMNS = 8
N_INSTRUCTIONS = 64

Precision = Literal["int8", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("int8", "bf16")
ELEMENT_BYTES = {"int8": 1, "bf16": 2}
DTYPES = {"int8": ("int8", "int32"), "bf16": ("bf16", "f32")}


class InvalidKernelError(ValueError):
    """A shape that no whole-array kernel can have, or a file that is no simulated kernel."""


@dataclass(frozen=True, slots=True)
class KernelShape:
    """A GEMM ``[m, k] @ [k, n]`` of the whole array, 4 rows by 8 columns of cores.

    Attributes:
        m, k, n: the sizes that are compiled into the kernel.
        precision: the precision of both operands.
        tile: the part ``(m, k, n)`` that one core computes at a time. Here it decides on padding only; what suits the
            device's memories is larger.
        rounding: how conversions to bfp16 round.
        bf16: how a bf16 kernel multiplies.

    Raises:
        InvalidKernelError: if the tiles do not fill the array evenly.
    """

    m: int
    k: int
    n: int
    precision: Precision
    tile: tuple[int, int, int] = (32, 64, 32)
    rounding: Rounding = "conv_even"
    bf16: Bf16 = "native"

    def __post_init__(self) -> None:
        if min(self.m, self.k, self.n, *self.tile) <= 0:
            raise InvalidKernelError(f"The kernel {self.name} needs sizes above zero")
        steps = _steps(self.tile)
        if self.m % steps[0] or self.k % steps[1] or self.n % steps[2]:
            raise InvalidKernelError(f"The kernel {self.name} needs m, k and n that are multiples of {steps}")

    @property
    def name(self) -> str:
        """The stem of its files: ``gemm_int8_1536x512x2048``."""
        return f"gemm_{self.precision}_{self.m}x{self.k}x{self.n}"

    @property
    def operand_bytes(self) -> tuple[int, int, int]:
        """The sizes of A, B and C in bytes; an element of C takes four."""
        element = ELEMENT_BYTES[self.precision]
        return self.m * self.k * element, self.k * self.n * element, self.m * self.n * 4


@dataclass(frozen=True, slots=True)
class SimulatedXclbin:
    """The content of a simulated xclbin.

    Attributes:
        kernel: the name that programs ask for.
        shapes: the GEMM that each sequence of instructions makes of it, by the SHA-256 of the instructions.
        sha256: the digest of the file.
    """

    kernel: str
    shapes: dict[str, KernelShape]
    sha256: str


def kernels_for(
    dimensions: EncoderDimensions, frames: Sequence[int], precisions: Sequence[Precision] = PRECISIONS
) -> list[KernelShape]:
    """Return the kernels that the linear layers of an encoder need.

    Args:
        dimensions: the size of the encoder.
        frames: mel frames of the windows, as for ``EncoderBackend.warm_up``; 3000 frames are 1500 rows, padded to 1536.
            Four rows at least are left over: a driver needs one per row of cores to check its answers.
        precisions: the precisions of the kernels.

    Returns:
        One shape per precision, padded row count and pair of layer sizes: query, key and value fused into
        ``[d, 3d]``, attention output ``[d, d]``, MLP ``[d, 4d]`` and ``[4d, d]``.
    """
    d, d_mlp = dimensions.d_model, FEED_FORWARD_FACTOR * dimensions.d_model
    m_step, k_step, n_step = _steps((32, 64, 32))
    rows = sorted({_pad(count // 2 + ROWS, m_step) for count in frames})
    layers = sorted({(_pad(k, k_step), _pad(n, n_step)) for k, n in ((d, 3 * d), (d, d), (d, d_mlp), (d_mlp, d))})
    return [KernelShape(m, k, n, precision) for precision in precisions for m in rows for k, n in layers]


def write_kernels(directory: Path, shapes: Iterable[KernelShape], *, share_xclbins: bool = False) -> None:
    """Write ``<name>.xclbin``, ``<name>.insts.bin`` and ``<name>.json`` for each shape; creates ``directory``.

    Args:
        directory: the directory that receives the files.
        shapes: the shapes that the kernels compute.
        share_xclbins: whether shapes of one precision and tile get the same xclbin and differ in their instructions
            only, so that one hardware context serves them all, as designs with run-time shapes do. Otherwise each shape
            has its own, as mlir-aie's ``whole_array.py`` makes them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    groups: dict[object, list[KernelShape]] = defaultdict(list)
    for shape in shapes:
        groups[(shape.precision, shape.tile, shape.rounding, shape.bf16) if share_xclbins else shape].append(shape)
    for group in groups.values():
        xclbin = MAGIC + json.dumps([_manifest(shape) for shape in group]).encode()
        for shape in group:
            manifest = _manifest(shape) | {"xclbin_sha256": _sha256(xclbin)}
            (directory / f"{shape.name}.xclbin").write_bytes(xclbin)
            (directory / f"{shape.name}.insts.bin").write_bytes(_instructions(shape))
            (directory / f"{shape.name}.json").write_text(json.dumps(manifest, indent=2) + "\n")


def parse_xclbin(content: bytes) -> SimulatedXclbin:
    """Read what ``write_kernels`` wrote.

    Raises:
        InvalidKernelError: if ``content`` is a real xclbin, or damaged.
    """
    if not content.startswith(MAGIC):
        raise InvalidKernelError("It is not a simulated kernel, and the simulator runs no other")
    try:
        manifests = json.loads(content[len(MAGIC) :])
        shapes = {manifest["insts_sha256"]: _shape(manifest) for manifest in manifests}
        return SimulatedXclbin(manifests[0]["kernel"], shapes, _sha256(content))
    except (ValueError, LookupError, TypeError) as error:
        raise InvalidKernelError(f"It is damaged: {error!r}") from error


def _shape(manifest: dict[str, Any]) -> KernelShape:
    tile_m, tile_k, tile_n = manifest["tile"]
    m, k, n = manifest["m"], manifest["k"], manifest["n"]
    tile, bf16 = (tile_m, tile_k, tile_n), manifest.get("bf16", "native")
    return KernelShape(m, k, n, manifest["in_dtype"], tile, manifest["rounding"], bf16)


def _steps(tile: tuple[int, int, int]) -> tuple[int, int, int]:
    return tile[0] * ROWS, tile[1], tile[2] * COLUMNS


def _pad(size: int, step: int) -> int:
    return -(-size // step) * step


def _instructions(shape: KernelShape) -> bytes:
    seed = [shape.m, shape.k, shape.n, PRECISIONS.index(shape.precision)]
    words = np.random.default_rng(seed).integers(1, 1 << 32, N_INSTRUCTIONS, np.uint32)
    return words.astype("<u4").tobytes()


def _manifest(shape: KernelShape) -> dict[str, Any]:
    in_dtype, out_dtype = DTYPES[shape.precision]
    bf16 = {"bf16": shape.bf16} if shape.precision == "bf16" else {}
    return bf16 | {
        "name": shape.name,
        "m": shape.m,
        "k": shape.k,
        "n": shape.n,
        "in_dtype": in_dtype,
        "out_dtype": out_dtype,
        "layout": "row_major",
        "tile": list(shape.tile),
        "rounding": shape.rounding,
        "n_instructions": N_INSTRUCTIONS,
        "insts_sha256": _sha256(_instructions(shape)),
        "kernel": KERNEL_NAME,
        "simulated": True,
    }


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
