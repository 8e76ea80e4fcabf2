"""Measures what the device takes to change from one hardware context to another."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from npu_encoder.bfloat16 import to_bfloat16
from npu_encoder.npu.buffers import ResidentWeight
from npu_encoder.npu.context import XrtContext
from npu_encoder.npu.driver import Driver, open_device
from npu_encoder.npu.kernels import Kernel
from npu_encoder.npu.known_answers import KnownAnswers
from npu_encoder.npu.xrt_gemm import RUN_TIMEOUT_S

RUNS: Final = 20


@dataclass(frozen=True, slots=True)
class SwitchCost:
    """Seconds that a run takes longer because the run before it was on another context.

    Attributes:
        same_s: between two contexts of one xclbin.
        other_s: between contexts of two xclbins; None where the kernels are one.
    """

    same_s: float
    other_s: float | None

    def __str__(self) -> str:
        text = f"a change between two contexts of one xclbin takes {1000 * self.same_s:.1f} ms"
        return text if self.other_s is None else f"{text}, between two xclbins {1000 * self.other_s:.1f} ms"


def measure_switches(driver: Driver, kernels: Sequence[Kernel]) -> SwitchCost:
    """Run small products on one context, then in turns on two.

    Args:
        driver: the result of ``load_driver``.
        kernels: at least one; the smallest of two xclbins are used.

    Raises:
        DeviceError: if the device fails.
    """
    device = open_device(driver)
    by_size = sorted(kernels, key=lambda kernel: kernel.work)
    smallest = by_size[0]
    other = next((kernel for kernel in by_size if kernel.xclbin_sha256 != smallest.xclbin_sha256), None)
    with ExitStack() as resources:
        first, second = (_Bench(driver, device, smallest, resources) for _ in range(2))
        alone_s = _run_s(driver, first)
        same_s = _run_s(driver, first, second) - alone_s
        if other is None:
            return SwitchCost(max(same_s, 0.0), None)
        third = _Bench(driver, device, other, resources)
        apart_s = (alone_s + _run_s(driver, third)) / 2
        return SwitchCost(max(same_s, 0.0), max(_run_s(driver, first, third) - apart_s, 0.0))


class _Bench:
    """A context with one weight, for one kernel."""

    def __init__(self, driver: Driver, device: Any, kernel: Kernel, resources: ExitStack) -> None:
        values = np.random.default_rng(0).integers(-8, 9, (kernel.k, kernel.n))
        weight = values.astype(np.int8) if kernel.precision == "int8" else to_bfloat16(values.astype(np.float32))
        known = KnownAnswers(weight, kernel.precision, kernel.bf16, kernel.rounding)
        self._kernel = kernel
        self._weight = ResidentWeight("switching", weight, kernel.n, known)
        self._context = XrtContext(driver, device, [kernel], RUN_TIMEOUT_S)
        resources.callback(self._context.close)
        self._context.load(self._weight)

    def run(self) -> None:
        """Multiply known-answer rows; poll for the product without a pause, which would be measured as well."""
        run = self._context.submit(self._kernel, self._weight, self._weight.known.questions)
        if run is None:
            return
        while not run.done():
            continue
        run.result()


def _run_s(driver: Driver, *benches: _Bench) -> float:
    """Return the seconds of a run, the median of some rounds in turns."""
    for bench in benches:
        bench.run()
    took_s = []
    for bench in RUNS * benches:
        began = driver.clock.monotonic()
        bench.run()
        took_s.append(driver.clock.monotonic() - began)
    return statistics.median(took_s)
