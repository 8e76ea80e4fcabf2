"""Kernels are compiled by a stand-in of the toolchain, which writes and fails as the real one does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from npu_encoder.errors import ToolchainError
from npu_encoder.kernel_build import building
from npu_encoder.kernel_build.building import Progress, array_count, build, check_kernels
from npu_encoder.kernel_build.shapes import BuildPlan, Design, plan_build
from npu_encoder.kernel_build.toolchain import Toolchain, find_toolchain
from npu_encoder.npu.audio_encoder import PLANS
from npu_encoder.npu.kernels import Bf16, read_kernels
from npu_encoder.weights import EncoderDimensions
from tests.support.toolchain import StandIn, install

SMALL = EncoderDimensions(80, 1500, 128, 2, 2)
FRAMES = (400, 1200, 3000)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    installed = install(tmp_path)
    monkeypatch.setenv("STAND_IN_LOG", str(installed.log))
    return installed


def found(stand_in: StandIn, bf16: Bf16 = "native") -> Toolchain:
    return find_toolchain(stand_in.environment, stand_in.checkout, bf16=bf16)


def plan_of(design: Design, precision: str = "bf16") -> BuildPlan:
    return plan_build(SMALL, FRAMES, next(PLANS[name] for name in PLANS if name == precision), design)


def run(plan: BuildPlan, toolchain: Toolchain, out: Path, bf16: Bf16 = "native") -> list[Progress]:
    return list(build(plan, toolchain, bf16, out))


@pytest.mark.parametrize("precision", ["bf16", "int8", "int8-bf16-fc2"])
@pytest.mark.parametrize("design", ["one xclbin", "xclbin per shape"])
def test_kernels_are_those_that_the_encoder_reads(
    stand_in: StandIn, tmp_path: Path, design: Design, precision: str
) -> None:
    plan, out = plan_of(design, precision), tmp_path / "kernels"
    progress = run(plan, found(stand_in), out)
    assert [(each.done, each.total) for each in progress] == [
        (done, array_count(plan)) for done in range(array_count(plan) + 1)
    ]
    assert progress[0].name is None
    assert progress[-1].left_s == 0
    check_kernels(out, plan)
    kernels = {kernel.name: kernel for kernel in read_kernels(out, simulated=False)}
    assert kernels.keys() == {spec.name for spec in plan.specs}
    assert len({kernel.xclbin_sha256 for kernel in kernels.values()}) == plan.contexts == array_count(plan)
    for spec in plan.specs:
        assert [*kernels[spec.name].instructions] == [1, spec.m, spec.k, spec.n]
    assert len(stand_in.compilations()) == array_count(plan)
    assert all(line.endswith(" llvm-aie") for line in stand_in.compilations())
    assert not list(out.glob(".building-*"))


def test_manifest_names_the_toolchain_and_how_bf16_is_multiplied(stand_in: StandIn, tmp_path: Path) -> None:
    plan = plan_of("xclbin per shape")
    run(plan, found(stand_in, "bfp16"), tmp_path / "kernels", "bfp16")
    manifest = json.loads((tmp_path / "kernels" / f"{plan.specs[0].name}.json").read_text())
    assert manifest["bf16"] == "bfp16"
    assert manifest["rounding"] == "floor", "the example leaves the cores in their reset mode"
    assert manifest["toolchain"] == {"mlir_aie": "1.3.4", "llvm_aie": "20.0.0", "checkout": "unknown"}
    assert manifest["tile"] == [plan.specs[0].tile.m, plan.specs[0].tile.k, plan.specs[0].tile.n]
    assert all("'emulate_bf16_mmul_with_bfp16': True" in line for line in stand_in.compilations())


def test_a_build_that_was_stopped_goes_on(stand_in: StandIn, tmp_path: Path) -> None:
    plan, out = plan_of("xclbin per shape"), tmp_path / "kernels"
    stopped = build(plan, found(stand_in), "native", out)
    for _ in range(3):
        next(stopped)
    del stopped
    assert len(stand_in.compilations()) == 2
    progress = run(plan, found(stand_in), out)
    assert progress[0].done == 2
    assert len(stand_in.compilations()) == array_count(plan)
    assert run(plan, found(stand_in), out) == [Progress(array_count(plan), array_count(plan))]


@pytest.mark.parametrize("suffix", ["xclbin", "insts.bin", "json"])
def test_a_damaged_kernel_is_compiled_again(stand_in: StandIn, tmp_path: Path, suffix: str) -> None:
    plan, out = plan_of("xclbin per shape"), tmp_path / "kernels"
    run(plan, found(stand_in), out)
    (out / f"{plan.specs[1].name}.{suffix}").write_text("damaged")
    assert len(run(plan, found(stand_in), out)) == 2
    check_kernels(out, plan)


def test_kernels_of_another_toolchain_are_compiled_again(stand_in: StandIn, tmp_path: Path) -> None:
    plan, out = plan_of("one xclbin"), tmp_path / "kernels"
    run(plan, found(stand_in), out)
    newer = install(tmp_path / "newer", packages=("mlir_aie-1.4.1", "llvm_aie-20.0.0"))
    assert len(run(plan, found(newer), out)) == 2


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("no-xclbinutil", r"wrote no array.xclbin: .*xclbinutil. Install it"),
        ("no-instructions", r"did not write gemm_\S+\.insts\.bin"),
        ("error", r"status 1; its last lines:\n[^$]*number of input DMA channels exceeded"),
    ],
)
def test_a_compiler_that_fails_is_told_and_leaves_no_kernel(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str, message: str
) -> None:
    monkeypatch.setenv("STAND_IN", failure)
    out = tmp_path / "kernels"
    with pytest.raises(ToolchainError, match=message):
        run(plan_of("xclbin per shape"), found(stand_in), out)
    assert list(out.iterdir()) == []


def test_a_full_disk_is_noticed_before_the_compiler_starts(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "BYTES_PER_XCLBIN", 2**60)
    with pytest.raises(ToolchainError, match="are free in"):
        run(plan_of("one xclbin"), found(stand_in), tmp_path / "kernels")


class TestFinding:
    def test_run_time_shapes_are_used_where_the_example_has_them(self, stand_in: StandIn) -> None:
        assert found(stand_in).design_for("native") == "one xclbin"
        assert found(stand_in).design_for("bfp16") == "xclbin per shape"
        (stand_in.example / "whole_array_dyn.py").write_text("M_max = 1536")
        assert found(stand_in).design_for("native") == "xclbin per shape"

    def test_an_environment_without_a_python(self, stand_in: StandIn, tmp_path: Path) -> None:
        with pytest.raises(ToolchainError, match="name the virtual environment"):
            find_toolchain(tmp_path / "none", stand_in.checkout, bf16="native")

    def test_a_directory_that_is_no_checkout(self, stand_in: StandIn, tmp_path: Path) -> None:
        with pytest.raises(ToolchainError, match=r"best v1\.3\.4"):
            find_toolchain(stand_in.environment, tmp_path, bf16="native")

    @pytest.mark.parametrize(
        ("packages", "missing"), [(("llvm_aie-20.0.0",), "mlir-aie"), (("mlir_aie-1.3.4",), "Peano")]
    )
    def test_a_wheel_that_is_not_installed(self, tmp_path: Path, packages: tuple[str, ...], missing: str) -> None:
        with pytest.raises(ToolchainError, match=rf"{missing}\S* is not installed"):
            found(install(tmp_path / "other", packages=packages))

    def test_an_example_that_only_prints_mlir(self, stand_in: StandIn) -> None:
        (stand_in.example / "whole_array.py").write_text("import argparse\nargparse.ArgumentParser().parse_args()\n")
        with pytest.raises(ToolchainError, match="has no --xclbin-path"):
            found(stand_in)

    def test_an_example_that_cannot_emulate_bf16(self, stand_in: StandIn) -> None:
        example = stand_in.example / "whole_array.py"
        example.write_text(example.read_text().replace("--emulate-bf16-mmul-with-bfp16", "--other"))
        with pytest.raises(ToolchainError, match="compile native bf16"):
            found(stand_in, "bfp16")

    def test_an_example_that_does_not_run(self, stand_in: StandIn) -> None:
        (stand_in.example / "whole_array.py").write_text("import aie.extras.util\n")
        with pytest.raises(ToolchainError, match=r"does not work: .*\n[^$]*aie\.extras"):
            found(stand_in)

    def test_a_checkout_of_another_release(self, stand_in: StandIn) -> None:
        git = ["git", "-C", str(stand_in.checkout), "-c", "user.name=t", "-c", "user.email=t@example.org"]
        for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"], ["tag", "v1.3.3"]):
            subprocess.run([*git, *arguments], check=True, capture_output=True)
        with pytest.raises(ToolchainError, match=r"checkout is v1\.3\.3; .* checkout v1\.3\.4"):
            found(stand_in)
        subprocess.run([*git, "tag", "-d", "v1.3.3"], check=True, capture_output=True)
        subprocess.run([*git, "tag", "v1.3.4"], check=True, capture_output=True)
        assert found(stand_in).versions["checkout"] == "v1.3.4"
