"""The compiler of kernels as it is installed: a Python environment with mlir-aie and Peano, and mlir-aie's examples.

Both come as wheels from the releases of their repositories, and from no package index.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from npu_encoder.errors import ToolchainError
from npu_encoder.kernel_build.shapes import Design, KernelSpec
from npu_encoder.npu.gemm import Precision
from npu_encoder.npu.kernels import CORE_COLUMNS, Bf16

PINNED: Final = "1.3.4"
"""The release of mlir-aie whose kernels are known to have run on hardware, with a checkout of the same tag."""

EXAMPLE: Final = Path("programming_examples/basic/matrix_multiplication/whole_array")
DEVICE: Final = "npu2"
DTYPES: Final[dict[Precision, tuple[str, str]]] = {"int8": ("i8", "i32"), "bf16": ("bf16", "f32")}
EMULATE: Final = "--emulate-bf16-mmul-with-bfp16"
NEEDED_OPTIONS: Final = ("--xclbin-path", "--insts-path", "--n-aie-cols", "--dtype_in", "--dtype_out")
RUN_TIME_SHAPES: Final = "A_elements"
"""A word of the version of ``whole_array_dyn.py`` that can be driven: earlier ones name their capacity otherwise."""

QUESTION: Final = """
import importlib.metadata as metadata, json, pathlib
found = {}
for name in ("mlir_aie", "llvm-aie"):
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        continue
    found[name] = [distribution.version, str(distribution.locate_file(""))]
print(json.dumps(found))
"""
TAIL_LINES: Final = 15


@dataclass(frozen=True, slots=True)
class Toolchain:
    """What was found.

    Attributes:
        python: the interpreter of its environment.
        example: the directory of mlir-aie's whole-array example.
        peano: the directory of the compiler for the cores.
        versions: of the packages, and the tag of the checkout.
        options: the options of ``whole_array.py``.
    """

    python: Path
    example: Path
    peano: Path
    versions: Mapping[str, str]
    options: frozenset[str]

    @property
    def has_run_time_shapes(self) -> bool:
        """Whether one xclbin can serve all shapes."""
        dynamic = self.example / "whole_array_dyn.py"
        return dynamic.is_file() and RUN_TIME_SHAPES in dynamic.read_text(encoding="utf-8")

    def design_for(self, bf16: Bf16) -> Design:
        """Return the better design that this toolchain has for kernels that multiply bf16 in this way."""
        return "one xclbin" if self.has_run_time_shapes and bf16 == "native" else "xclbin per shape"

    def compile_shape(self, spec: KernelSpec, bf16: Bf16, xclbin: Path, instructions: Path) -> None:
        """Compile one shape into an xclbin of its own.

        Raises:
            ToolchainError: if the compiler fails, or says that all is well and has written no file.
        """
        dtype_in, dtype_out = DTYPES[spec.precision]
        arguments = {
            "--dev": DEVICE,
            "--n-aie-cols": CORE_COLUMNS,
            "--dtype_in": dtype_in,
            "--dtype_out": dtype_out,
            **{f"-{size}": value for size, value in zip("MKN", (spec.m, spec.k, spec.n), strict=True)},
            **{f"-{size}": value for size, value in zip("mkn", spec.tile.sides, strict=True)},
            "--xclbin-path": xclbin,
            "--insts-path": instructions,
        }
        if spec.precision == "bf16" and bf16 == "bfp16":
            arguments[EMULATE] = 1
        command = [str(part) for pair in arguments.items() for part in pair]
        self._run(["whole_array.py", *command], xclbin, [xclbin, instructions])

    def compile_all(self, specs: Sequence[KernelSpec], xclbin: Path, instructions: Sequence[Path]) -> None:
        """Compile one array for several shapes of one precision and tile.

        Args:
            specs: the shapes.
            xclbin: the file for the array.
            instructions: the file for the instructions of each shape.

        Raises:
            ToolchainError: as for ``compile_shape``.
        """
        request = {
            "design": str(self.example),
            "xclbin": str(xclbin),
            "tile": specs[0].tile.sides,
            "dtypes": DTYPES[specs[0].precision],
            "shapes": {str(path): (spec.m, spec.k, spec.n) for path, spec in zip(instructions, specs, strict=True)},
        }
        program = Path(__file__).with_name("one_array.py")
        self._run([str(program), json.dumps(request)], xclbin, [xclbin, *instructions])

    def _run(self, arguments: Sequence[str], xclbin: Path, expected: Sequence[Path]) -> None:
        environment = {**os.environ, "PEANO_INSTALL_DIR": str(self.peano)}
        done = subprocess.run(  # noqa: S603  (the user names the toolchain)
            [str(self.python), *arguments],
            cwd=self.example,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        tail = "\n".join(done.stdout.splitlines()[-TAIL_LINES:])
        if done.returncode:
            raise ToolchainError(f"The compiler ended with status {done.returncode}; its last lines:\n{tail}")
        missing = [path.name for path in expected if not path.is_file() or path.stat().st_size == 0]
        if xclbin.name in missing:
            raise ToolchainError(
                f"The compiler said that all is well and wrote no {xclbin.name}: it skips that where it finds no "
                "xclbinutil. Install it (libxrt-utils on Debian and Ubuntu), or set AIE_XCLBINUTIL to its path.\n"
                f"{tail}"
            )
        if missing:
            raise ToolchainError(f"The compiler said that all is well and did not write {', '.join(missing)}:\n{tail}")


def find_toolchain(environment: Path, checkout: Path, *, bf16: Bf16) -> Toolchain:
    """Look at an installed toolchain.

    Args:
        environment: the virtual environment with the wheels of mlir-aie and Peano.
        checkout: mlir-aie's repository, at the tag of the wheel.
        bf16: how its bf16 kernels shall multiply.

    Raises:
        ToolchainError: names what is missing or does not fit, and how to get it.
    """
    python, example = environment / "bin" / "python", checkout / EXAMPLE
    if not python.is_file():
        raise ToolchainError(
            f"There is no {python}: name the virtual environment of mlir-aie; docs/npu.md says how to make it"
        )
    if not (example / "whole_array.py").is_file():
        raise ToolchainError(f"There is no whole_array.py in {example}: name a checkout of mlir-aie, best v{PINNED}")
    packages = json.loads(_ask(python, "-c", QUESTION))
    for package, wheel in (("mlir_aie", "mlir-aie"), ("llvm-aie", "llvm-aie (Peano)")):
        if package not in packages:
            raise ToolchainError(
                f"The wheel of {wheel} is not installed in {environment}; docs/npu.md says where it is"
            )
    version, _ = packages["mlir_aie"]
    peano_version, site_packages = packages["llvm-aie"]
    tag = _tag(checkout)
    if tag is not None and tag.removeprefix("v") != version.partition("+")[0]:
        raise ToolchainError(
            f"The wheel is mlir-aie {version} and the checkout is {tag}; they must be of one release: "
            f"git -C {checkout} checkout v{version.partition('+')[0]}"
        )
    options = frozenset(re.findall(r"--?[A-Za-z][\w-]*", _ask(python, "whole_array.py", "--help", cwd=example)))
    lacking = [option for option in NEEDED_OPTIONS if option not in options]
    if lacking:
        raise ToolchainError(
            f"The example's whole_array.py has no {', '.join(lacking)}: it is of another release; v{PINNED} has them"
        )
    if bf16 == "bfp16" and EMULATE not in options:
        raise ToolchainError(
            f"The example's whole_array.py has no {EMULATE}: compile native bf16, or take another release"
        )
    versions = {"mlir_aie": version, "llvm_aie": peano_version, "checkout": tag or "unknown"}
    return Toolchain(python, example, Path(site_packages) / "llvm-aie", versions, options)


def _ask(python: Path, *arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run(  # noqa: S603  (the user names the toolchain)
        [str(python), *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-TAIL_LINES:])
        raise ToolchainError(f"The toolchain does not work: {python} {arguments[0]} ended with:\n{tail}")
    return done.stdout


def _tag(checkout: Path) -> str | None:
    """Return the tag of the checkout; None where that cannot be known."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(  # noqa: S603  (git itself, on a directory that the user names)
        [git, "-C", str(checkout), "describe", "--tags", "--exact-match"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None
