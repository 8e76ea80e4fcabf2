"""``amanuensis npu build``: what it says before it starts, while it works, and at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import amanuensis
from tests.support.paths import DEMO_MODEL
from tests.support.toolchain import StandIn, install


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    installed = install(tmp_path)
    monkeypatch.setenv("STAND_IN_LOG", str(installed.log))
    return installed


def build(stand_in: StandIn, out: Path, *options: str, model: str = str(DEMO_MODEL)) -> int:
    where = ["--toolchain", str(stand_in.environment), "--checkout", str(stand_in.checkout)]
    return amanuensis("npu", "build", model, "--out", str(out), *where, *options)


def test_it_says_what_it_takes_and_how_far_it_is(
    stand_in: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(stand_in, tmp_path / "kernels") == 0
    lines = capsys.readouterr().out.splitlines()
    text = "\n".join(lines)
    assert "1 xclbin to compile: 1 to 2 minutes as others report, about 200 MiB of disk (estimate)" in lines
    assert "KiB of L1" in lines[0]
    assert "take 1 of the NPU's 16 hardware contexts" in text
    assert "changes of xclbin" not in text
    assert "[0/1] already compiled" in lines
    assert any(line.startswith("[1/1] gemm_bf16_") for line in lines)
    assert lines[-1].endswith(f"amanuensis doctor --kernels {tmp_path / 'kernels'} --model {DEMO_MODEL}")


def test_the_price_of_an_xclbin_per_shape_is_told(
    stand_in: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(stand_in, tmp_path / "kernels", "--xclbin-per-shape", "--dry-run") == 0
    text = capsys.readouterr().out
    assert "16 changes of xclbin per window cost 43 ms alone and 11 ms with 4 windows" in text
    assert "lengths of windows share" in text
    assert stand_in.compilations() == []
    assert not (tmp_path / "kernels").exists()


def test_a_compiler_that_skips_the_xclbin_fails_the_command(
    stand_in: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "no-xclbinutil")
    assert build(stand_in, tmp_path / "kernels") == 1
    assert "it finds no xclbinutil" in capsys.readouterr().err


def test_a_model_that_is_not_here(
    stand_in: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert build(stand_in, tmp_path / "kernels", model="small") == 1
    assert "amanuensis model pull small" in capsys.readouterr().err
