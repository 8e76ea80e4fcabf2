"""Which part of a product one core computes at a time: what fits its memory, and moves the fewest bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from npu_encoder.npu.gemm import Precision
from npu_encoder.npu.kernels import CORE_COLUMNS, CORE_ROWS

L1_BYTES: Final = 64 * 1024
STACK_BYTES: Final = 0xD00
"""What mlir-aie's design reserves; less gives wrong products without an error."""

BUFFERS: Final = 2
"""Each operand has two: one is filled while the other is multiplied."""

INPUT_BYTES: Final[dict[Precision, int]] = {"int8": 1, "bf16": 2}
OUTPUT_BYTES: Final = 4

DDR_BYTES_PER_S: Final = 50e9
"""Measured by others on the path between memory and the array: 47 to 57 GB/s."""

SIDES: Final = (32, 64)
DEPTH: Final = 64
"""K of a tile: all tiles with published speeds have it; a shorter one leaves the multipliers waiting."""


@dataclass(frozen=True, slots=True)
class Tile:
    """The part ``[m, k] @ [k, n]`` of a product that one core multiplies at a time."""

    m: int
    k: int
    n: int

    @property
    def sides(self) -> tuple[int, int, int]:
        """The three sizes in the order of a manifest: m, k, n."""
        return self.m, self.k, self.n

    def l1_bytes(self, precision: Precision) -> int:
        """Return the bytes of a core's memory that its operands take."""
        inputs = (self.m * self.k + self.k * self.n) * INPUT_BYTES[precision]
        return BUFFERS * (inputs + self.m * self.n * OUTPUT_BYTES)

    def fits(self, precision: Precision) -> bool:
        """Return whether a core has room for it beside its stack."""
        return self.l1_bytes(precision) + STACK_BYTES <= L1_BYTES

    def pad(self, k: int, n: int) -> tuple[int, int]:
        """Return the sizes of a weight ``[k, n]`` on the device."""
        return round_up(k, self.k), round_up(n, CORE_COLUMNS * self.n)


def ddr_bytes(m: int, k: int, n: int, tile: Tile, precision: Precision) -> int:
    """Return the bytes that pass between memory and the array for ``[m, k] @ [k, n]``, padded already.

    mlir-aie's design reads A once for each round of columns and B once for each round of rows.
    """
    a = m * k * n // (CORE_COLUMNS * tile.n)
    b = k * n * m // (CORE_ROWS * tile.m)
    return (a + b) * INPUT_BYTES[precision] + m * n * OUTPUT_BYTES


def best_tile(layers: Sequence[tuple[int, int]], rows: int, precision: Precision) -> Tile:
    """Return the tile that fits and moves the fewest bytes for all these layers together.

    Args:
        layers: ``(k, n)`` of each weight, not padded.
        rows: rows of the longest window.
        precision: the precision of the operands.
    """
    tiles = [Tile(m, DEPTH, n) for m in SIDES for n in SIDES]

    def moved(tile: Tile) -> int:
        m = round_up(rows, CORE_ROWS * tile.m)
        return sum(ddr_bytes(m, *tile.pad(k, n), tile, precision) for k, n in layers)

    return min((tile for tile in tiles if tile.fits(precision)), key=moved)


def round_up(size: int, step: int) -> int:
    """Return the smallest multiple of ``step`` that is at least ``size``."""
    return -(-size // step) * step
