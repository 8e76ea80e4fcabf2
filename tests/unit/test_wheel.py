"""The wheel holds the packages with their data and the configurations, but no tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.support.paths import CONFIGS, ROOT

PACKAGES = ("deployments", "npu_encoder", "loadtests")
NEEDS_SOURCES = ("loadtests/load/", "loadtests/locustfile.py")


def files_below(folder: Path) -> set[str]:
    """Return the files of a folder of the source tree, as paths from its root."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in found}


@pytest.fixture(scope="module")
def packed() -> dict[str, str]:
    """Path in the wheel -> path in the source tree of the same file."""
    included = WheelBuilder(str(ROOT)).recurse_included_files()
    return {each.distribution_path: Path(each.path).relative_to(ROOT).as_posix() for each in included}


def test_every_file_of_the_packages_is_in_the_wheel(packed: dict[str, str]) -> None:
    packages = {path for package in PACKAGES for path in files_below(ROOT / package)}
    assert {path for path in packages if not path.startswith(NEEDS_SOURCES)} == {
        path for path, source in packed.items() if path == source
    }


def test_the_configurations_are_where_the_command_line_looks_for_them(packed: dict[str, str]) -> None:
    moved = {path: source for path, source in packed.items() if path != source}
    expected = {f"deployments/{source}": source for source in files_below(CONFIGS) | {"serve_config.yaml"}}
    assert moved == expected


def test_the_states_of_silence_are_in_the_wheel(packed: dict[str, str]) -> None:
    assert "deployments/shared/model/shipped_silence/base.npz" in packed


def test_the_models_that_tell_speakers_apart_are_in_the_wheel_with_their_licences(packed: dict[str, str]) -> None:
    networks = {f"{network}.{part}" for network in ("segmentation", "embedding") for part in ("xml", "bin")}
    for name in networks | {"average_voice.npy", "LICENSES.md"}:
        assert f"deployments/diarizer/models/{name}" in packed
