"""Matrix products on the NPU: which kernel, which context, and what still works when a context has failed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npu_encoder.backend import DeviceHealth, HealthStatus
from npu_encoder.errors import DeviceFailedError, NoKernelError
from npu_encoder.npu.buffers import ResidentWeight
from npu_encoder.npu.context import XrtContext
from npu_encoder.npu.driver import Driver, open_device
from npu_encoder.npu.gemm import INPUT_DTYPES, GemmInput, GemmWeight
from npu_encoder.npu.kernels import Kernel, kernel_for_rows, kernels_for_weight
from npu_encoder.npu.known_answers import KnownAnswers
from npu_encoder.npu.runs import POLL_S, XrtRun

MAX_CONTEXTS = 16
"""Strix Halo has so many, and all its processes share them."""

RUN_TIMEOUT_S = 5.0
"""More than the driver needs to kill a run by itself: it looks every 2 s, so that takes 2 to 4 s. Where other contexts
get on meanwhile, Linux 6.17 and later does not kill it at all, and this time-out ends it."""


@dataclass(frozen=True, eq=False)
class _Layer:
    """A loaded weight, its number of rows before padding, and the kernels for it."""

    weight: ResidentWeight
    k: int
    kernels: Sequence[Kernel]


class XrtGemm:
    """``GemmExecutor`` over pyxrt or its simulator.

    Every xclbin in use gets ``n_contexts`` hardware contexts, all weights resident in each; a product goes to the one
    that owes the least work. The firmware of today gives every context the whole device in turn. So more than one per
    xclbin gains nothing there, four runs in flight hide the host's share as well, and may cost a switch per run; it is
    for a firmware that gives contexts columns of their own. Whether a context survives the failure of another is the
    kernel's choice: before Linux 6.17 the driver resets all of them.

    Args:
        driver: the result of ``load_driver``.
        kernels: the kernels that may be used, as ``read_kernels`` returned them.
        n_contexts: hardware contexts per xclbin.
        run_timeout_s: after this a run counts as lost.

    Raises:
        DeviceLostError: if the device cannot be opened.
    """

    def __init__(
        self, driver: Driver, kernels: Sequence[Kernel], *, n_contexts: int = 1, run_timeout_s: float = RUN_TIMEOUT_S
    ) -> None:
        self._driver = driver
        self._kernels = kernels
        self._n_contexts = n_contexts
        self._run_timeout_s = run_timeout_s
        self._device = open_device(driver)
        self._layers: dict[str, _Layer] = {}
        self._contexts: dict[str, list[XrtContext]] = {}

    @property
    def n_contexts(self) -> int:
        """Hardware contexts per xclbin: so many products can be on the device side by side."""
        return self._n_contexts

    @property
    def device(self) -> str:
        precisions = sorted({layer.kernels[0].precision for layer in self._layers.values()}, reverse=True)
        return "-".join(["npu:xdna2", *precisions, *(["simulated"] if self._driver.simulated else [])])

    @property
    def health(self) -> DeviceHealth:
        """The health of all contexts: ``degraded`` if some failed, ``failed`` if none is left for some products."""
        contexts = [context for group in self._contexts.values() for context in group]
        failed = [context for context in contexts if context.status == "failed"]
        status: HealthStatus = "degraded" if failed else "healthy"
        if self._dead_group() is not None:
            status = "failed"
        reason = failed[-1].reason if failed else None
        return DeviceHealth(status, reason, sum(context.recoveries for context in contexts))

    def load(self, weight: GemmWeight) -> None:
        """Make a weight resident in every context, and prove the kernels it needs.

        Raises:
            NoKernelError: names K and N if no kernel fits.
            DeviceError: if the device has no room, or multiplies wrongly.
        """
        k, n = weight.values.shape
        kernels = kernels_for_weight(self._kernels, k, n, weight.precision)
        padding = ((0, kernels[0].k - k), (0, kernels[0].n - n))
        values = np.ascontiguousarray(np.pad(weight.values, padding))
        known = KnownAnswers(values, weight.precision, kernels[0].bf16, kernels[0].rounding)
        resident = ResidentWeight(weight.name, values, n, known)
        for group in self._open_contexts(kernels):
            for context in group:
                context.load(resident)
        self._layers[weight.name] = _Layer(resident, k, kernels)

    def start(self, name: str, x: GemmInput) -> XrtRun:
        """Begin ``x @ weight``; waits only while every context has four runs in flight.

        Raises:
            NoKernelError: if ``x`` has more rows than the largest kernel.
            DeviceError: if the device does not take the run.
            DeviceFailedError: if no context is left for these products, or for others.
        """
        layer = self._layers[name]
        _check_activations(layer, x)
        kernel = kernel_for_rows(layer.kernels, len(x))
        group = self._contexts[kernel.xclbin_sha256]
        while True:
            self._check_alive()
            for context in sorted(group, key=lambda context: context.outstanding_work):
                run = context.submit(kernel, layer.weight, x)
                if run is not None:
                    return run
            for context in group:
                context.advance()
            self._driver.clock.sleep(POLL_S)

    def probe_device(self) -> None:
        """Let every context that is at rest multiply known-answer rows; one that cannot is rebuilt, or has failed."""
        for group in self._contexts.values():
            for context in group:
                context.probe()

    def close(self) -> None:
        for group in self._contexts.values():
            for context in group:
                context.close()
        self._contexts.clear()
        self._layers.clear()
        self._device = None

    def _dead_group(self) -> list[XrtContext] | None:
        """Return the contexts of an xclbin of which none is left; None if all xclbins have one."""
        for group in self._contexts.values():
            if all(context.status == "failed" for context in group):
                return group
        return None

    def _check_alive(self) -> None:
        """Refuse all work once some products have no context: no window can be encoded without them."""
        dead = self._dead_group()
        if dead is not None:
            raise DeviceFailedError(f"The NPU has failed; start this process again. The reason: {dead[-1].reason}")

    def _open_contexts(self, kernels: Sequence[Kernel]) -> list[list[XrtContext]]:
        """Return the contexts of all xclbins of ``kernels``; new ones serve all kernels of their xclbin."""
        xclbins = dict.fromkeys(kernel.xclbin_sha256 for kernel in kernels)
        needed = self._n_contexts * len(self._contexts.keys() | xclbins.keys())
        if needed > MAX_CONTEXTS:
            raise NoKernelError(
                f"The kernels need {needed} hardware contexts ({self._n_contexts} per xclbin), but the NPU has "
                f"{MAX_CONTEXTS}: set npu_contexts to 1, and compile fewer lengths of windows, or all shapes into one "
                "xclbin (`amanuensis npu build` says how)"
            )
        by_xclbin: dict[str, list[Kernel]] = defaultdict(list)
        for kernel in self._kernels:
            by_xclbin[kernel.xclbin_sha256].append(kernel)
        for xclbin in xclbins:
            if xclbin not in self._contexts:
                self._contexts[xclbin] = [self._open_context(by_xclbin[xclbin]) for _ in range(self._n_contexts)]
        return [self._contexts[xclbin] for xclbin in xclbins]

    def _open_context(self, kernels: Sequence[Kernel]) -> XrtContext:
        return XrtContext(self._driver, self._device, kernels, self._run_timeout_s)


def _check_activations(layer: _Layer, x: NDArray[Any]) -> None:
    dtype = INPUT_DTYPES[layer.kernels[0].precision]
    if x.shape != (len(x), layer.k) or len(x) == 0 or x.dtype != dtype or not x.flags.c_contiguous:
        raise ValueError(
            f"The layer {layer.weight.name} takes C-contiguous {dtype.__name__} [m, {layer.k}], not {x.dtype} {x.shape}"
        )
