"""OpenVINO on this CPU: its precisions, and how graphs are compiled for cores that other processes use too."""

from __future__ import annotations

from functools import cache

import openvino as ov
from openvino.properties import hint, inference_num_threads, num_streams

from npu_encoder.errors import UnsupportedPrecisionError

PRECISIONS = ("auto", "bf16", "f32")


def resolve_precision(core: ov.Core, precision: str) -> str:
    """Return ``bf16`` or ``f32``; ``auto`` is bf16 where the CPU has instructions for it.

    Raises:
        UnsupportedPrecisionError: if this CPU cannot compute in ``precision``.
    """
    if precision not in PRECISIONS:
        raise UnsupportedPrecisionError(f"OpenVINO's precision is one of {PRECISIONS}, not {precision!r}")
    if precision == "auto":
        return "bf16" if has_bf16(core) else "f32"
    if precision == "bf16" and not has_bf16(core):
        raise UnsupportedPrecisionError("This CPU has no bf16 instructions: choose f32 or auto")
    return precision


def has_bf16(core: ov.Core) -> bool:
    """Return whether this CPU has instructions for bfloat16."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def rounds_to_bf16() -> bool:
    """Return whether OpenVINO's conversion rounds to the nearest bfloat16, as the CPU's instruction does.

    Where it is emulated with AVX2, it cuts the lower bits off, which makes every value smaller.
    """
    return has_bf16(ov.Core())


def compile_graph(core: ov.Core, graph: ov.Model, *, precision: str, threads: int) -> ov.CompiledModel:
    """Compile a graph whose floats OpenVINO may compute in ``precision``."""
    settings = {
        hint.inference_precision: precision,
        # One stream per thread: no two threads share a window.
        num_streams: threads,
        inference_num_threads: threads,
        # Other processes share these cores: the scheduler knows better where to run.
        hint.enable_cpu_pinning: False,
    }
    return core.compile_model(graph, "CPU", settings)
