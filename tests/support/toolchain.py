"""A toolchain in place of mlir-aie and Peano: a Python that knows their packages, and their example."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

STAND_IN = Path(__file__).with_name("toolchain_stand_in")
EXAMPLE = Path("programming_examples/basic/matrix_multiplication/whole_array")


@dataclass(frozen=True)
class StandIn:
    """Where it is, and the file in which it notes each compilation."""

    environment: Path
    checkout: Path
    log: Path

    @property
    def example(self) -> Path:
        """The directory of the example."""
        return self.checkout / EXAMPLE

    def compilations(self) -> list[str]:
        """Return what was compiled so far."""
        return self.log.read_text().splitlines() if self.log.exists() else []


def install(directory: Path, *, packages: tuple[str, ...] = ("mlir_aie-1.3.4", "llvm_aie-20.0.0")) -> StandIn:
    """Make the environment and the checkout; the variable STAND_IN_LOG has to name ``log``."""
    stand_in = StandIn(directory / "environment", directory / "mlir-aie", directory / "log")
    site = stand_in.environment / "site-packages"
    (site / "aie" / "iron").mkdir(parents=True)
    (site / "aie" / "__init__.py").touch()
    (site / "aie" / "iron" / "__init__.py").write_text(
        "def set_current_device(device):\n    assert device == ('npu2', 8)\n"
    )
    for package in packages:
        name, version = package.split("-")
        metadata = site / f"{package}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    python = stand_in.environment / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{site}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    stand_in.example.mkdir(parents=True)
    for name in ("whole_array.py", "whole_array_dyn.py"):
        shutil.copy(STAND_IN / name, stand_in.example)
    return stand_in
