"""Which kernels a model needs: one for each size of its layers, each length of its windows and each precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal

from npu_encoder.errors import NoKernelError
from npu_encoder.kernel_build.tiles import DDR_BYTES_PER_S, Tile, best_tile, ddr_bytes, round_up
from npu_encoder.npu.audio_encoder import LayerPlan
from npu_encoder.npu.gemm import Precision
from npu_encoder.npu.kernels import CORE_ROWS
from npu_encoder.npu.xrt_gemm import MAX_CONTEXTS
from npu_encoder.weights import FEED_FORWARD_FACTOR, EncoderDimensions

Design = Literal["one xclbin", "xclbin per shape"]
"""The array takes the shape at run time and is compiled once; or the shape is part of it, and each has its own."""

ROW_BLOCKS: Final[dict[Design, int]] = {"one xclbin": 1, "xclbin per shape": 2}
"""M is a multiple of so many rows of tiles: some versions of mlir-aie's ``whole_array.py`` need an even number."""

SWITCH_S: Final = 0.0027
"""Measured by others on XDNA2: the time that the change to another xclbin takes."""

WINDOWS_TOGETHER: Final = 4
"""So many windows of one length go through the layers side by side, and share the switches."""


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """A product to compile: ``[m, k] @ [k, n]``, padded already."""

    m: int
    k: int
    n: int
    precision: Precision
    tile: Tile

    @property
    def name(self) -> str:
        """The stem of its files: ``gemm_bf16_1536x512x2048``."""
        return f"gemm_{self.precision}_{self.m}x{self.k}x{self.n}"


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """All kernels of one model.

    Attributes:
        design: how many xclbins they are.
        specs: the kernels, those of the shortest windows first.
        n_layers: transformer layers of the model.
        products: ``(k, n)`` of the products of one layer, in their order, padded, with the precision.
    """

    design: Design
    specs: tuple[KernelSpec, ...]
    n_layers: int
    products: tuple[tuple[int, int, Precision], ...]

    @property
    def contexts(self) -> int:
        """Hardware contexts that the kernels take: one per xclbin."""
        if self.design == "one xclbin":
            return len({spec.precision for spec in self.specs})
        return len(self.specs)

    @property
    def switches_per_window(self) -> int:
        """How often the array is configured anew for one window that is alone on the device."""
        if self.design == "one xclbin":
            arrays: list[object] = [precision for *_, precision in self.products]
        else:
            arrays = list(self.products)
        return self.n_layers * sum(
            before != after for before, after in zip(arrays, [*arrays[1:], arrays[0]], strict=True)
        )

    @property
    def ddr_s(self) -> float:
        """Seconds for which the longest window keeps the memory busy, at the bandwidth that others have measured."""
        longest = max(spec.m for spec in self.specs)
        specs = {(spec.k, spec.n, spec.precision): spec for spec in self.specs if spec.m == longest}
        used = [specs[product] for product in self.products]
        return (
            self.n_layers
            * sum(ddr_bytes(spec.m, spec.k, spec.n, spec.tile, spec.precision) for spec in used)
            / DDR_BYTES_PER_S
        )


def plan_build(dimensions: EncoderDimensions, frames: Sequence[int], layers: LayerPlan, design: Design) -> BuildPlan:
    """Return the kernels for the linear layers of an encoder.

    Where each shape takes a context of its own, window lengths are left out until the device has enough: a window of a
    length that was left out is padded to the next.

    Args:
        dimensions: the size of the encoder.
        frames: lengths of the windows in mel frames, as the service warms them up.
        layers: the precision of each linear layer.
        design: what the toolchain offers.

    Raises:
        NoKernelError: if not even one length of windows fits the device's contexts.
    """
    sizes = _layer_sizes(dimensions.d_model)
    by_precision: dict[Precision, list[tuple[int, int]]] = {}
    for field in fields(layers):
        by_precision.setdefault(getattr(layers, field.name), []).append(sizes[field.name])
    longest = _rows(max(frames))
    tiles = {precision: best_tile(of_it, longest, precision) for precision, of_it in by_precision.items()}
    products = tuple(
        (*tiles[precision].pad(*sizes[field.name]), precision)
        for field in fields(layers)
        for precision in [getattr(layers, field.name)]
    )
    rows = _row_counts(frames, tiles, design)
    if design == "xclbin per shape":
        rows = _affordable(rows, MAX_CONTEXTS // len(set(products)))
    specs = tuple(
        KernelSpec(m[precision], k, n, precision, tiles[precision])
        for m in rows
        for k, n, precision in dict.fromkeys(products)
    )
    return BuildPlan(design, tuple(dict.fromkeys(specs)), dimensions.n_layers, products)


def _layer_sizes(d: int) -> dict[str, tuple[int, int]]:
    hidden = FEED_FORWARD_FACTOR * d
    return {"qkv": (d, 3 * d), "out": (d, d), "fc1": (d, hidden), "fc2": (hidden, d)}


def _rows(frames: int) -> int:
    """Return the rows of a window, with those of the known answers."""
    return frames // 2 + CORE_ROWS


def _row_counts(frames: Sequence[int], tiles: dict[Precision, Tile], design: Design) -> list[dict[Precision, int]]:
    """Return M of each precision for each length, shortest first; lengths with the same M are one."""
    steps = {precision: CORE_ROWS * tile.m * ROW_BLOCKS[design] for precision, tile in tiles.items()}
    counts = [
        {precision: round_up(_rows(length), step) for precision, step in steps.items()} for length in sorted(frames)
    ]
    return [count for index, count in enumerate(counts) if count not in counts[:index]]


def _affordable(rows: list[dict[Precision, int]], at_most: int) -> list[dict[Precision, int]]:
    """Return so many of the lengths at most, spread evenly, the longest one always."""
    if at_most < 1:
        raise NoKernelError(f"The layers have more sizes than the NPU has hardware contexts ({MAX_CONTEXTS})")
    count = min(at_most, len(rows))
    return [rows[(index + 1) * len(rows) // count - 1] for index in range(count)]
