"""Compile the kernels of a model for the NPU.

What an NPU needs besides, and how to get the toolchain: docs/npu.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click

from deployments.commands.errors import CommandError
from deployments.shared.model.description import Model, describe
from deployments.shared.model.finding import find
from deployments.shared.settings import Settings
from npu_encoder.kernel_build.building import (
    BYTES_PER_XCLBIN,
    MINUTES_PER_XCLBIN,
    Progress,
    array_count,
    build,
    check_kernels,
)
from npu_encoder.kernel_build.shapes import SWITCH_S, WINDOWS_TOGETHER, BuildPlan, Design, plan_build
from npu_encoder.kernel_build.toolchain import find_toolchain
from npu_encoder.npu.audio_encoder import PLANS, PlanName
from npu_encoder.npu.kernels import Bf16
from npu_encoder.npu.xrt_gemm import MAX_CONTEXTS

DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
NEW_DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.group(help=__doc__)
def command() -> None:
    """Leave the work to the commands below."""


@command.command("build")
@click.argument("model")
@click.option("--out", required=True, type=NEW_DIRECTORY, help="Directory for the kernels; what is there is kept.")
@click.option("--toolchain", required=True, type=DIRECTORY, help="Virtual environment with mlir-aie and Peano.")
@click.option("--checkout", required=True, type=DIRECTORY, help="mlir-aie's repository, at the tag of its wheel.")
@click.option("--precision", type=click.Choice([*PLANS]), default="bf16", show_default=True, help="As npu_precision.")
@click.option(
    "--bf16",
    type=click.Choice(get_args(Bf16)),
    default="native",
    show_default=True,
    help="How bf16 is multiplied: as it is, or faster and less exactly in bfp16.",
)
@click.option("--xclbin-per-shape", is_flag=True, help="Do not use the design that takes shapes at run time.")
@click.option("--dry-run", is_flag=True, help="Only say what would be compiled.")
def build_command(  # noqa: PLR0913  (one parameter per option of the command line)
    model: str,
    out: Path,
    toolchain: Path,
    checkout: Path,
    *,
    precision: PlanName,
    bf16: Bf16,
    xclbin_per_shape: bool,
    dry_run: bool,
) -> None:
    """Compile the kernels that MODEL needs, for all lengths that the service cuts its windows to.

    MODEL is a size name, a hub id or a directory. A build that was stopped goes on where it was.
    """
    found = find_toolchain(toolchain, checkout, bf16=bf16)
    design: Design = "xclbin per shape" if xclbin_per_shape else found.design_for(bf16)
    described = _model(model)
    plan = plan_build(described.dimensions, described.frame_buckets, PLANS[precision], design)
    for line in announcement(plan, described.frame_buckets):
        click.echo(line)
    if dry_run:
        return
    for progress in build(plan, found, bf16, out):
        click.echo(_told(progress))
    check_kernels(out, plan)
    click.echo(f"{len(plan.specs)} kernels in {out}; check them: amanuensis doctor --kernels {out} --model {model}")


def announcement(plan: BuildPlan, frames: tuple[int, ...]) -> Iterator[str]:
    """Yield what will be compiled, what it takes, and what it will cost when it runs.

    Args:
        plan: the kernels.
        frames: the lengths that the service cuts windows to.
    """
    for spec in plan.specs:
        tile = spec.tile
        yield f"{spec.name}: tiles of {tile.m} x {tile.k} x {tile.n}, {tile.l1_bytes(spec.precision) // 1024} KiB of L1"
    count = array_count(plan)
    least, most = (minutes * count for minutes in MINUTES_PER_XCLBIN)
    room = BYTES_PER_XCLBIN // 2**20
    xclbins = "1 xclbin" if count == 1 else f"{count} xclbins"
    yield f"{xclbins} to compile: {least} to {most} minutes as others report, about {room} MiB of disk (estimate)"
    yield (
        f"The longest window keeps the memory busy for {1000 * plan.ddr_s:.0f} ms (calculated, at 50 GB/s); the "
        f"kernels take {plan.contexts} of the NPU's {MAX_CONTEXTS} hardware contexts"
    )
    lengths = len({spec.m for spec in plan.specs})
    if lengths < len(frames):
        yield f"{len(frames)} lengths of windows share {lengths} sizes of kernels: shorter ones are padded"
    if plan.switches_per_window:
        alone_ms = 1000 * SWITCH_S * plan.switches_per_window
        yield (
            f"{plan.switches_per_window} changes of xclbin per window cost {alone_ms:.0f} ms alone and "
            f"{alone_ms / WINDOWS_TOGETHER:.0f} ms with {WINDOWS_TOGETHER} windows of one length on their way "
            f"(calculated from {1000 * SWITCH_S:g} ms each)"
        )


def _model(name: str) -> Model:
    path = find(name)
    if path is None:
        raise CommandError(f"{name} is not on this machine; fetch it: amanuensis model pull {name}")
    return describe(path, Path(name).name, Settings.resolve({}).audio_context)


def _told(progress: Progress) -> str:
    count = f"[{progress.done}/{progress.total}]"
    if progress.name is None:
        return f"{count} already compiled"
    left = "" if not progress.left_s else f", about {progress.left_s / 60:.0f} min left"
    return f"{count} {progress.name} in {progress.took_s:.0f} s{left}"
