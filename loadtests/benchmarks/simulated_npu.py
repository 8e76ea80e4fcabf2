"""Measure how much of a simulated NPU's time the service uses.

``amanuensis bench simulated-npu``: the simulated device takes a fixed time per window, whatever its length, and
computes nothing; the host's share of the encoder and the work of the driver are real. First the backend alone. One
context for all shapes is what a design with run-time shapes gives. An xclbin per shape is what mlir-aie's
``whole_array.py`` gives: a context for each, which take turns and cost a switch each time. Eight contexts with columns
of their own are a firmware that partitions space, which no Strix Halo has: they show how much the host can do. Then the
whole service over HTTP, one context, with stages before and behind the encoder that compute nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from loadtests.benchmarks.parts.spread import spread
from loadtests.common.clips import clips
from loadtests.common.closed_loop import run_closed_loop
from loadtests.common.cpu_time import cpu_s_between, cpu_s_by_role
from loadtests.common.paths import DEMO_MODEL
from loadtests.common.service_process import Application, started
from npu_encoder.loading import NpuOptions, load_backend
from npu_encoder.npu.xrt import SIMULATED_FRAMES
from npu_encoder.simulator import LatencyModel
from npu_encoder.simulator.kernels import kernels_for, write_kernels
from npu_encoder.weights import read_dimensions

WINDOW_S, SLOW_WINDOW_S = 0.015, 0.120
AT_MOST = 32
CLIENTS = 32
COLUMNS = 8
WARM_UP_S = 3.0
PRODUCTS_PER_LAYER = 4
ONE_THREAD = "OMP_NUM_THREADS"
SWITCH_S = LatencyModel().switch_s
Firmware = Literal["today's", "partitions space"]
PROOFS = 12
"""Products of each context that are really computed: those that prove its kernels when it is opened."""


@dataclass(frozen=True)
class Case:
    """One row of the backend's table."""

    contexts: int
    frames: int
    window_s: float = WINDOW_S
    firmware: Firmware = "today's"
    one_xclbin: bool = True

    @property
    def ideal(self) -> float:
        """Windows per second of a device that never waits and never switches."""
        return (1 if self.firmware == "today's" else self.contexts) / self.window_s

    @property
    def kernels(self) -> str:
        """What the kernels are, for the table."""
        return "one xclbin" if self.one_xclbin else "an xclbin per shape"


@dataclass(frozen=True)
class Arrays:
    """The arrays of one window; all windows are the same."""

    log_mel: NDArray[np.float32]
    states: NDArray[np.float32]


CASES = (
    Case(contexts=1, frames=400),
    Case(contexts=1, frames=400, window_s=SLOW_WINDOW_S),
    Case(contexts=1, frames=400, one_xclbin=False),
    Case(contexts=8, frames=400),
    Case(contexts=8, frames=400, window_s=SLOW_WINDOW_S, firmware="partitions space"),
    Case(contexts=8, frames=400, firmware="partitions space"),
    Case(contexts=8, frames=100, firmware="partitions space"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a round")
    options = parser.parse_args()
    if ONE_THREAD not in os.environ:
        # As in a replica: NumPy's products, which the device computes with, must not take the host's other core.
        os.execve(sys.executable, [sys.executable, "-m", __spec__.name, *sys.argv[1:]], {**os.environ, ONE_THREAD: "1"})  # noqa: S606
    with tempfile.TemporaryDirectory() as directory:
        _backend_table(Path(directory), options.rounds, options.seconds / 2)
        _service_table(Path(directory), options.rounds, options.seconds)


def write_device(directory: Path, case: Case) -> NpuOptions:
    """Write the kernels of a case and a device that takes ``window_s`` per window, besides switches."""
    kernels = directory / case.kernels.replace(" ", "-")
    if not kernels.exists():
        shapes = kernels_for(read_dimensions(DEMO_MODEL), SIMULATED_FRAMES, ["bf16"])
        write_kernels(kernels, shapes, share_xclbins=case.one_xclbin)
    scenario = directory / f"device-{CASES.index(case)}.json"
    columns = COLUMNS // case.contexts if case.firmware == "partitions space" else None
    gemm_s = case.window_s / (PRODUCTS_PER_LAYER * read_dimensions(DEMO_MODEL).n_layers)
    device = {"gemm_s": gemm_s, "switch_s": SWITCH_S, "exact_commands": PROOFS, "columns_per_context": columns}
    scenario.write_text(json.dumps(device), encoding="utf-8")
    return NpuOptions(kernels, case.contexts, simulator=True, scenario=scenario)


def _backend_table(directory: Path, rounds: int, seconds: float) -> None:
    print(f"backend alone, {rounds} rounds of {seconds:g} s\n")
    print(
        "| firmware | kernels | contexts | device ms/window | frames | windows/s (simulated) | of the device's rate | "
        "CPU ms/window |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        results = [_backend_round(case, directory, seconds) for _ in range(rounds)]
        rates, cpu = zip(*results, strict=True)
        share = f"{100 * statistics.median(rates) / case.ideal:.0f}%"
        device_ms, cpu_ms = f"{1000 * case.window_s:g}", f"{statistics.median(cpu):.1f}"
        device = (case.firmware, case.kernels, case.contexts, device_ms)
        row = (*device, case.frames, spread(rates, 1), share, cpu_ms)
        print("| " + " | ".join(map(str, row)) + " |")


def _backend_round(case: Case, directory: Path, seconds: float) -> tuple[float, float]:
    """Return windows per second, and CPU milliseconds per window."""
    backend = load_backend(DEMO_MODEL, backend="xrt", npu=write_device(directory, case))
    dimensions = backend.dimensions
    log_mel = np.zeros((dimensions.n_mels, case.frames), np.float32)
    backend.warm_up([case.frames])
    began, cpu_began = time.monotonic(), time.process_time()

    def waiting() -> Arrays | None:
        if time.monotonic() > began + seconds:
            return None
        return Arrays(log_mel, np.empty((case.frames // 2, dimensions.d_model), np.float32))

    done = sum(not isinstance(outcome, Exception) for _, outcome in backend.encode_each(waiting, AT_MOST))
    took, cpu = time.monotonic() - began, time.process_time() - cpu_began
    backend.close()
    return done / took, 1000 * cpu / done


def _service_table(directory: Path, rounds: int, seconds: float) -> None:
    print(
        f"\nthe service over HTTP, {CLIENTS} clients, other stages compute nothing, {rounds} rounds of {seconds:g} s\n"
    )
    npu = write_device(directory, CASES[0])
    settings = {
        "device": "npu",
        "npu_simulator": True,
        "npu_kernels": str(npu.kernels),
        "npu_scenario": str(npu.scenario),
        "encoder_batch_size": CLIENTS,
        "slots": CLIENTS,
    }
    application = Application(
        "npu", "/", settings, builder="loadtests.benchmarks.parts.null_graph:build_around_encoder"
    )
    rates, cpu = [], []
    with started([application]) as service:
        run_closed_loop(service.url, clips(), clients=CLIENTS, seconds=WARM_UP_S)
        for _ in range(rounds):
            before = cpu_s_by_role(service.process)
            result = run_closed_loop(service.url, clips(), clients=CLIENTS, seconds=seconds)
            used = cpu_s_between(before, cpu_s_by_role(service.process))
            rates.append(result.requests_per_s)
            cpu.append(1000 * used["Encoder"] / len(result.latencies_s))
    ideal = 1 / WINDOW_S
    print(f"- windows/s (simulated): {spread(rates, 1)}, {100 * statistics.median(rates) / ideal:.0f}% of {ideal:.1f}")
    print(f"- CPU of the Encoder: {statistics.median(cpu):.1f} ms/window")


if __name__ == "__main__":
    main()
