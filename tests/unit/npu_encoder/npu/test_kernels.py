"""Kernel manifests: which are believed, which are rejected, which are chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from npu_encoder.errors import NoKernelError
from npu_encoder.npu.kernels import capacity, kernel_for_rows, kernels_for_weight, read_kernels
from npu_encoder.npu.known_answers import caller_rows, question_rows
from npu_encoder.simulator.kernels import KernelShape, write_kernels

SHAPES = [KernelShape(m, k, n, "int8") for m in (128, 256) for k, n in ((64, 256), (64, 512), (128, 256))]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_kernels(tmp_path, SHAPES)
    return tmp_path


def edit(directory: Path, **fields: Any) -> None:
    path = directory / f"{SHAPES[0].name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_smallest_kernel_that_fits_is_chosen(directory: Path) -> None:
    kernels = read_kernels(directory, simulated=True)
    chosen = kernels_for_weight(kernels, 60, 300, "int8")
    assert [(kernel.m, kernel.k, kernel.n) for kernel in chosen] == [(128, 64, 512), (256, 64, 512)]
    assert kernel_for_rows(chosen, 124).m == 128
    assert kernel_for_rows(chosen, 125).m == 256


def test_shape_that_fits_nowhere_is_named(directory: Path) -> None:
    kernels = read_kernels(directory, simulated=True)
    with pytest.raises(NoKernelError, match=r"int8 kernel fits K=129, N=1"):
        kernels_for_weight(kernels, 129, 1, "int8")
    with pytest.raises(NoKernelError, match=r"bf16"):
        kernels_for_weight(kernels, 1, 1, "bf16")
    with pytest.raises(NoKernelError, match=r"fits M=253, K=64, N=256"):
        kernel_for_rows(kernels_for_weight(kernels, 1, 1, "int8"), 253)


def test_simulated_kernels_are_for_the_simulator_only(directory: Path) -> None:
    with pytest.raises(NoKernelError, match="is a simulated kernel, but the driver in use is real"):
        read_kernels(directory, simulated=False)
    edit(directory, simulated=False)
    with pytest.raises(NoKernelError, match="is a real kernel"):
        read_kernels(directory, simulated=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"m": 100}, "m = 100 is no positive multiple of 128"),
        ({"n": 100}, "n = 100"),
        ({"k": 0}, "k = 0"),
        ({"rounding": "ceil"}, "rounding is 'ceil'"),
        ({"layout": "blocked"}, "layout"),
        ({"out_dtype": "f32"}, "out_dtype"),
        ({"in_dtype": "int4"}, "in_dtype"),
        ({"in_dtype": "bf16", "out_dtype": "f32"}, "bf16 is None"),
        ({"in_dtype": "bf16", "out_dtype": "f32", "bf16": "fp8"}, "bf16 is 'fp8'"),
        ({"kernel": "OTHER"}, "kernel"),
        ({"n_instructions": 63}, "not 63 words"),
        ({"xclbin_sha256": "0"}, "xclbin does not match the sha256"),
        ({"insts_sha256": "0"}, "insts.bin does not match the sha256"),
        ({"tile": [32]}, "not a kernel manifest"),
    ],
)
def test_manifest_that_is_wrong_is_rejected(directory: Path, fields: dict[str, Any], message: str) -> None:
    edit(directory, **fields)
    with pytest.raises(NoKernelError, match=message):
        read_kernels(directory, simulated=True)


def test_bf16_kernels_of_two_kinds_are_rejected(tmp_path: Path) -> None:
    write_kernels(tmp_path, [KernelShape(128, 64, 256, "bf16"), KernelShape(128, 64, 512, "bf16", bf16="bfp16")])
    with pytest.raises(NoKernelError, match="multiply bf16 in several ways"):
        read_kernels(tmp_path, simulated=True)


def test_missing_files_are_named(directory: Path, tmp_path: Path) -> None:
    (directory / f"{SHAPES[0].name}.insts.bin").unlink()
    with pytest.raises(NoKernelError, match=r"insts\.bin"):
        read_kernels(directory, simulated=True)
    with pytest.raises(NoKernelError, match="no kernel manifest"):
        read_kernels(tmp_path / "empty", simulated=True)


@pytest.mark.parametrize("rows", [1, 31, 32, 100, 124])
def test_rows_of_the_caller_and_known_answers_share_the_kernel_without_overlap(directory: Path, rows: int) -> None:
    kernel = read_kernels(directory, simulated=True)[0]
    assert (kernel.m, capacity(kernel)) == (128, 124)
    questions = [*range(128)[question_rows(kernel)]]
    assert questions == [31, 63, 95, 127]
    pieces = caller_rows(kernel, rows)
    assert [row for ours, _ in pieces for row in range(ours.start, ours.stop)] == list(range(rows))
    theirs = [row for _, piece in pieces for row in range(piece.start, piece.stop)]
    assert theirs == [row for row in range(128) if row not in questions][:rows]
