"""How close the device's encoder has to be to the CPU's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from npu_encoder.doctor import accuracy
from npu_encoder.doctor.accuracy import compare_with_cpu, least_cosine
from npu_encoder.errors import InaccurateError
from npu_encoder.loading import NpuOptions, load_backend
from npu_encoder.npu.kernels import Kernel, read_kernels
from npu_encoder.simulator.kernels import KernelShape, kernels_for, write_kernels
from npu_encoder.weights import read_dimensions
from tests.support.paths import DEMO_MODEL

PUBLISHED = [
    ("native", 32, 0.99486, True),  # large-v3 in bf16, whisper-xdna: shipped
    ("native", 12, 0.9968, True),  # small in bf16, IRON's application
    ("int8", 32, 0.864, False),  # large-v3 in int8, whisper-xdna: "unusable"
    ("bfp16", 6, 0.9988, True),  # base, our simulator
    ("native", 6, 0.9988, True),
    ("native", 4, 0.95, False),
]


def kernel(directory: Path, rounding: str) -> Kernel:
    shape = KernelShape(128, 64, 256, "int8" if rounding == "int8" else "bf16")
    write_kernels(directory, [replace(shape, bf16="bfp16") if rounding == "bfp16" else shape])
    return read_kernels(directory, simulated=True)[0]


@pytest.mark.parametrize(("rounding", "n_layers", "cosine", "is_good"), PUBLISHED)
def test_bounds_agree_with_what_was_published(
    tmp_path: Path, rounding: str, n_layers: int, cosine: float, is_good: bool
) -> None:
    assert (cosine >= least_cosine(n_layers, kernel(tmp_path, rounding))) is is_good


def test_deeper_models_may_be_further_off(tmp_path: Path) -> None:
    bf16 = kernel(tmp_path, "native")
    assert least_cosine(4, bf16) > least_cosine(6, bf16) > least_cosine(32, bf16) > 0.99


@pytest.mark.parametrize("bf16", ["native", "bfp16"])
def test_emulated_bf16_passes_as_what_it_is(tmp_path: Path, bf16: str) -> None:
    shapes = kernels_for(read_dimensions(DEMO_MODEL), [800], ["bf16"])
    write_kernels(tmp_path, [replace(shape, bf16="bfp16") if bf16 == "bfp16" else shape for shape in shapes])
    backend = load_backend(DEMO_MODEL, backend="xrt", npu=NpuOptions(tmp_path, simulator=True))
    comparison = compare_with_cpu(DEMO_MODEL, backend, read_kernels(tmp_path, simulated=True)[0])
    assert 0.999 < comparison.cosine < 1
    assert comparison.window_s == 8
    assert "a window of 8 s takes" in str(comparison)
    backend.close()


def test_encoder_that_is_too_far_off_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_kernels(tmp_path, kernels_for(read_dimensions(DEMO_MODEL), [800], ["int8"]))
    backend = load_backend(DEMO_MODEL, backend="xrt", precision="int8", npu=NpuOptions(tmp_path, simulator=True))
    monkeypatch.setitem(accuracy.LOSS_PER_LAYER, "int8", 1e-7)
    with pytest.raises(InaccurateError, match="too coarse for so deep a model"):
        compare_with_cpu(DEMO_MODEL, backend, read_kernels(tmp_path, simulated=True)[0])
    backend.close()
