"""How long the simulated device takes for what it does."""

from __future__ import annotations

from dataclasses import dataclass

from npu_encoder.simulator.kernels import KernelShape

BYTES_PER_MB = 1 << 20


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """The seconds that operations take. The defaults are Strix Halo as published; this project measured none of them.

    Attributes:
        open_s: opening the device.
        context_s: creating a hardware context.
        buffer_s_per_mb: creating a buffer.
        dispatch_s: from a command's turn until its GEMM begins.
        switch_s: added to a command whose context is not that of the one before it: the array is configured anew.
            Measured on XDNA2 between two xclbins. Whether two contexts of one xclbin pay it is not known; here they do.
        wake_s: added to the first command after ``idle_s`` without any, because the driver has suspended the device.
        idle_s: see ``wake_s``.
        int8_tops: 10^12 int8 operations per second of the whole device; a product and its sum are two.
        bf16_tops: the same for bf16.
        gemm_s: the time of every GEMM, whatever its shape and the share of the device that computes it; None: follows
            from the shape.
    """

    open_s: float = 0.011
    context_s: float = 0.035
    buffer_s_per_mb: float = 0.00025
    dispatch_s: float = 0.0001
    switch_s: float = 0.0027
    wake_s: float = 0.135
    idle_s: float = 10.0
    int8_tops: float = 10.0
    bf16_tops: float = 4.0
    gemm_s: float | None = None

    @classmethod
    def for_window(cls, window_s: float, dispatches: int, switch_s: float = 0.0) -> LatencyModel:
        """Describe a device that takes ``window_s`` for a window of ``dispatches`` GEMMs, and else only switches."""
        return cls(0.0, 0.0, 0.0, dispatch_s=0.0, switch_s=switch_s, wake_s=0.0, gemm_s=window_s / dispatches)

    def buffer(self, size: int) -> float:
        """Return the seconds for creating a buffer of ``size`` bytes."""
        return self.buffer_s_per_mb * size / BYTES_PER_MB

    def gemm(self, shape: KernelShape, share: float) -> float:
        """Return the seconds of one GEMM on ``share`` of the device's columns, dispatch not included."""
        if self.gemm_s is not None:
            return self.gemm_s
        tops = self.int8_tops if shape.precision == "int8" else self.bf16_tops
        return 2 * shape.m * shape.k * shape.n / (tops * 1e12 * share)
