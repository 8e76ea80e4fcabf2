"""Compiles the kernels of a plan one after the other, and goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from npu_encoder.bfp16 import Rounding
from npu_encoder.errors import NoKernelError, ToolchainError
from npu_encoder.kernel_build.shapes import BuildPlan, KernelSpec
from npu_encoder.kernel_build.toolchain import Toolchain
from npu_encoder.npu.kernels import ENTRY, LAYOUT, OUT_DTYPES, Bf16, read_kernels

MINUTES_PER_XCLBIN: Final = (1, 2)
"""What others report for one array."""

BYTES_PER_XCLBIN: Final = 200 * 2**20
"""Room for the compiler's own files while it works, estimated generously; they are deleted after each array."""

ROUNDING: Final[Rounding] = "floor"
"""The example leaves the cores in their reset mode. It shows only where bf16 is emulated."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What has been done so far.

    Attributes:
        done: arrays that are compiled, those of earlier calls included.
        total: arrays in all.
        name: the kernel that was compiled last; None at the beginning.
        took_s: seconds that it took.
        left_s: seconds that the rest will take at this rate; None while that is not known.
    """

    done: int
    total: int
    name: str | None = None
    took_s: float = 0.0
    left_s: float | None = None


def build(plan: BuildPlan, toolchain: Toolchain, bf16: Bf16, out: Path) -> Iterator[Progress]:
    """Compile what is not there yet; yield how far it is, at the beginning and after each array.

    Args:
        plan: the kernels.
        toolchain: compiles them.
        bf16: how bf16 kernels multiply.
        out: the directory for the kernels; created if it is not there.

    Raises:
        ToolchainError: if the compiler fails; what was compiled before stays.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    _check_room(out)
    arrays = _arrays(plan)
    todo = [array for array in arrays if not _is_built(array, toolchain, bf16, out)]
    yield Progress(len(arrays) - len(todo), len(arrays))
    took_s: list[float] = []
    for index, array in enumerate(todo):
        began = time.monotonic()
        _build_array(array, plan, toolchain, bf16, out)
        took_s.append(time.monotonic() - began)
        left = len(todo) - index - 1
        mean_s = sum(took_s) / len(took_s)
        yield Progress(len(arrays) - left, len(arrays), array[0].name, took_s[-1], left * mean_s)


def array_count(plan: BuildPlan) -> int:
    """Return the number of xclbins that a plan takes."""
    return len(_arrays(plan))


def _arrays(plan: BuildPlan) -> list[list[KernelSpec]]:
    """Return the kernels of each xclbin."""
    if plan.design == "xclbin per shape":
        return [[spec] for spec in plan.specs]

    def kind(spec: KernelSpec) -> str:
        return spec.precision

    return [list(specs) for _, specs in groupby(sorted(plan.specs, key=kind), key=kind)]


def _check_room(out: Path) -> None:
    free = shutil.disk_usage(out).free
    if free < BYTES_PER_XCLBIN:
        raise ToolchainError(
            f"Only {free // 2**20} MiB are free in {out}; the compiler needs about {BYTES_PER_XCLBIN // 2**20} MiB"
        )


def _is_built(array: Sequence[KernelSpec], toolchain: Toolchain, bf16: Bf16, out: Path) -> bool:
    """Return whether all kernels of an array are there, whole, and made as they would be made now."""
    for spec in array:
        with suppress(OSError, ValueError):
            manifest = json.loads((out / f"{spec.name}.json").read_text(encoding="utf-8"))
            wanted = _description(spec, toolchain, bf16)
            if {key: manifest.get(key) for key in wanted} == wanted and _are_whole(manifest, out):
                continue
        return False
    return True


def _are_whole(manifest: dict[str, Any], out: Path) -> bool:
    stem = out / manifest["name"]
    return all(
        _sha256(stem.with_name(f"{stem.name}.{suffix}")) == manifest[f"{key}_sha256"]
        for suffix, key in (("xclbin", "xclbin"), ("insts.bin", "insts"))
    )


def _build_array(array: Sequence[KernelSpec], plan: BuildPlan, toolchain: Toolchain, bf16: Bf16, out: Path) -> None:
    with tempfile.TemporaryDirectory(dir=out, prefix=".building-") as directory:
        scratch = Path(directory)
        xclbin = scratch / "array.xclbin"
        instructions = [scratch / f"{spec.name}.insts.bin" for spec in array]
        if plan.design == "one xclbin":
            toolchain.compile_all(array, xclbin, instructions)
        else:
            toolchain.compile_shape(array[0], bf16, xclbin, instructions[0])
        for spec, words in zip(array, instructions, strict=True):
            _keep(spec, xclbin, words, _description(spec, toolchain, bf16), out)


def _keep(spec: KernelSpec, xclbin: Path, instructions: Path, description: dict[str, Any], out: Path) -> None:
    """Copy a kernel's files to their place, the manifest last: without it the others do not count."""
    manifest = description | {
        "n_instructions": instructions.stat().st_size // 4,
        "xclbin_sha256": _sha256(xclbin),
        "insts_sha256": _sha256(instructions),
    }
    shutil.copyfile(xclbin, out / f"{spec.name}.xclbin")
    shutil.copyfile(instructions, out / f"{spec.name}.insts.bin")
    new = instructions.with_suffix(".json")
    new.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    new.replace(out / f"{spec.name}.json")


def _description(spec: KernelSpec, toolchain: Toolchain, bf16: Bf16) -> dict[str, Any]:
    """Return the part of a manifest that is known before the kernel is compiled."""
    return {
        "name": spec.name,
        "m": spec.m,
        "k": spec.k,
        "n": spec.n,
        "in_dtype": spec.precision,
        "out_dtype": OUT_DTYPES[spec.precision],
        **({"bf16": bf16} if spec.precision == "bf16" else {}),
        "layout": LAYOUT,
        "tile": [*spec.tile.sides],
        "rounding": ROUNDING,
        "kernel": ENTRY,
        "simulated": False,
        "toolchain": dict(toolchain.versions),
    }


def check_kernels(out: Path, plan: BuildPlan) -> None:
    """Read the directory as the encoder will.

    Raises:
        NoKernelError: if a kernel cannot be trusted, or the plan's are not all there.
    """
    found = {kernel.name for kernel in read_kernels(out, simulated=False)}
    missing = {spec.name for spec in plan.specs} - found
    if missing:
        raise NoKernelError(f"The directory {out} has no {', '.join(sorted(missing))}: build again")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
