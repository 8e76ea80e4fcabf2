"""What is compiled for a model: tiles that fit, shapes that cover its windows, contexts that suffice."""

from __future__ import annotations

import pytest

from npu_encoder.errors import NoKernelError
from npu_encoder.kernel_build import shapes
from npu_encoder.kernel_build.shapes import Design, plan_build
from npu_encoder.kernel_build.tiles import L1_BYTES, Tile, best_tile, ddr_bytes
from npu_encoder.npu.audio_encoder import PLANS, PlanName
from npu_encoder.npu.gemm import Precision
from npu_encoder.weights import EncoderDimensions

TINY = EncoderDimensions(80, 1500, 384, 6, 4)
BASE = EncoderDimensions(80, 1500, 512, 8, 6)
SMALL = EncoderDimensions(80, 1500, 768, 12, 12)
TURBO = EncoderDimensions(128, 1500, 1280, 20, 32)
BUCKETS = (200, 400, 600, 800, 1000, 1200, 1600, 2000, 2400, 3000)
DESIGNS: tuple[Design, ...] = ("one xclbin", "xclbin per shape")


class TestTiles:
    @pytest.mark.parametrize(
        ("tile", "precision", "kib", "fits"),
        [
            (Tile(64, 64, 64), "int8", 48, True),
            (Tile(64, 64, 32), "bf16", 40, True),
            (Tile(64, 64, 64), "bf16", 64, False),  # all of L1, and no room for the stack
            (Tile(32, 64, 32), "bf16", 24, True),
        ],
    )
    def test_memory_of_a_core(self, tile: Tile, precision: Precision, kib: int, fits: bool) -> None:
        assert tile.l1_bytes(precision) == kib * 1024
        assert tile.fits(precision) is fits
        assert L1_BYTES == 64 * 1024

    def test_larger_tiles_move_fewer_bytes(self) -> None:
        small, large = (ddr_bytes(1536, 512, 2048, tile, "int8") for tile in (Tile(32, 64, 32), Tile(64, 64, 64)))
        assert large < 0.75 * small

    def test_bytes_of_a_product(self) -> None:
        # A once for each of 2048 / 256 rounds, B once for each of 1536 / 256, C once in float32.
        moved = 2 * (1536 * 512 * 8 + 512 * 2048 * 6) + 4 * 1536 * 2048
        assert ddr_bytes(1536, 512, 2048, Tile(64, 64, 32), "bf16") == moved

    @pytest.mark.parametrize("dimensions", [BASE, SMALL, TURBO])
    def test_best_tiles_of_whisper(self, dimensions: EncoderDimensions) -> None:
        d = dimensions.d_model
        layers = [(d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)]
        for precision in ("int8", "bf16"):
            tile = best_tile(layers, 1504, precision)
            assert tile.fits(precision)
            assert (tile.m, tile.k) == (64, 64)

    @pytest.mark.parametrize(
        ("dimensions", "plan", "published_ms"),
        [(BASE, "int8", 6.8), (SMALL, "int8", 25), (TURBO, "int8", 159), (BASE, "bf16", 12.5), (SMALL, "bf16", 51)],
    )
    def test_memory_traffic_is_near_the_reviewed_estimate(
        self, dimensions: EncoderDimensions, plan: PlanName, published_ms: float
    ) -> None:
        found = 1000 * plan_build(dimensions, [3000], PLANS[plan], "one xclbin").ddr_s
        assert 0.7 * published_ms < found < 1.3 * published_ms


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("precision", list(PLANS))
@pytest.mark.parametrize("dimensions", [TINY, BASE, SMALL, TURBO])
def test_every_layer_of_every_window_has_a_kernel(
    dimensions: EncoderDimensions, precision: PlanName, design: Design
) -> None:
    plan = plan_build(dimensions, BUCKETS, PLANS[precision], design)
    d = dimensions.d_model
    needed = {"qkv": (d, 3 * d), "out": (d, d), "fc1": (d, 4 * d), "fc2": (4 * d, d)}
    for frames in BUCKETS:
        for layer, (k, n) in needed.items():
            of_layer = getattr(PLANS[precision], layer)
            assert any(
                spec.precision == of_layer and spec.k >= k and spec.n >= n and spec.m >= frames // 2 + 4
                for spec in plan.specs
            )
    assert plan.contexts <= 16
    for spec in plan.specs:
        blocks = 1 if design == "one xclbin" else 2
        assert spec.m % (4 * spec.tile.m * blocks) == 0
        assert spec.k % spec.tile.k == 0
        assert spec.n % (8 * spec.tile.n) == 0
        assert spec.tile.fits(spec.precision)


def test_names_are_unique_and_the_longest_window_is_not_padded_far() -> None:
    plan = plan_build(BASE, BUCKETS, PLANS["bf16"], "xclbin per shape")
    assert len({spec.name for spec in plan.specs}) == len(plan.specs)
    assert max(spec.m for spec in plan.specs) == 1536


def test_one_xclbin_serves_all_lengths_and_takes_one_context() -> None:
    plan = plan_build(BASE, BUCKETS, PLANS["bf16"], "one xclbin")
    assert plan.contexts == 1
    assert plan.switches_per_window == 0
    assert len({spec.m for spec in plan.specs}) > 4


@pytest.mark.parametrize(("dimensions", "switches"), [(BASE, 24), (SMALL, 48), (TURBO, 128)])
def test_an_xclbin_per_shape_switches_at_every_product(dimensions: EncoderDimensions, switches: int) -> None:
    plan = plan_build(dimensions, BUCKETS, PLANS["bf16"], "xclbin per shape")
    assert plan.switches_per_window == switches
    assert plan.contexts == len(plan.specs) == 12
    assert {spec.m for spec in plan.specs} == {512, 1024, 1536}


def test_two_precisions_switch_twice_a_layer() -> None:
    assert plan_build(BASE, BUCKETS, PLANS["int8-bf16-fc2"], "one xclbin").switches_per_window == 12


def test_layers_that_exceed_the_contexts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "MAX_CONTEXTS", 3)
    with pytest.raises(NoKernelError, match="more sizes than the NPU has hardware contexts"):
        plan_build(BASE, BUCKETS, PLANS["bf16"], "xclbin per shape")
