"""The driver of the NPU on the simulator: exact products, every fault, recovery, several contexts. Virtual time."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from npu_encoder.backend import DeviceHealth
from npu_encoder.bfloat16 import to_bfloat16
from npu_encoder.bfp16 import Rounding
from npu_encoder.errors import (
    DeviceAbortError,
    DeviceBusyError,
    DeviceError,
    DeviceFailedError,
    DeviceLostError,
    DeviceMemoryError,
    DeviceTimeoutError,
    DriverMismatchError,
    NoKernelError,
    PoisonedOutputError,
)
from npu_encoder.npu.buffers import Buffers
from npu_encoder.npu.context import XrtContext
from npu_encoder.npu.driver import DeviceErrors, Driver
from npu_encoder.npu.gemm import GemmWeight, NumpyGemm, Precision
from npu_encoder.npu.kernels import Bf16, read_kernels
from npu_encoder.npu.xrt_gemm import MAX_CONTEXTS, XrtGemm
from npu_encoder.simulator import FaultPlan, LatencyModel, SimulatorConfig, VirtualClock, create_module, faults
from npu_encoder.simulator.kernels import KernelShape, write_kernels

K, N = 60, 200
SHAPES = [KernelShape(m, 64, 256, precision) for m in (128, 256) for precision in ("int8", "bf16")]
GEMM_S = 0.01

# Loading the first int8 weight proves the kernels of 128 and 256 rows; the next run is the first of a caller.
PROOFS = 2
FIRST = PROOFS + 1


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("kernels")
    write_kernels(directory, SHAPES, share_xclbins=True)
    return directory


@pytest.fixture(scope="module")
def directory_of_xclbins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kernels that have an xclbin each."""
    directory = tmp_path_factory.mktemp("xclbins")
    write_kernels(directory, SHAPES)
    return directory


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(poll_s=1e-5)


class Bench:
    """An ``XrtGemm`` over a simulated device with faults, and its weight on the host."""

    def __init__(
        self,
        directory: Path,
        clock: VirtualClock,
        *plan: faults.Fault,
        precision: Precision = "int8",
        n_contexts: int = 1,
        columns: int | None = None,
        hang_resets_all: bool = False,
        **options: Any,
    ) -> None:
        config = SimulatorConfig(
            clock=clock,
            latency=LatencyModel(gemm_s=GEMM_S),
            strict=True,
            columns_per_context=columns,
            hang_resets_all=hang_resets_all,
        )
        self.driver = Driver(create_module(config, FaultPlan(plan)), simulated=True, clock=clock)
        self.gemm = XrtGemm(self.driver, read_kernels(directory, simulated=True), n_contexts=n_contexts, **options)
        self.host = NumpyGemm()
        self.precision = precision
        self.random = np.random.default_rng(7)
        weight = GemmWeight("w", self.operand((K, N)), precision)
        self.gemm.load(weight)
        self.host.load(weight)

    def operand(self, shape: tuple[int, int]) -> NDArray[Any]:
        if self.precision == "int8":
            return self.random.integers(-128, 128, shape, np.int8)
        return to_bfloat16(self.random.standard_normal(shape, np.float32))

    def assert_multiplies(self, rows: int = 100) -> None:
        x = self.operand((rows, K))
        product, expected = self.gemm.start("w", x).result(), self.host.start("w", x).result()
        assert product.dtype == expected.dtype
        if self.precision == "int8":
            np.testing.assert_array_equal(product, expected)
        else:
            np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-4)

    @property
    def contexts(self) -> list[XrtContext]:
        return [context for group in self.gemm._contexts.values() for context in group]


@pytest.mark.parametrize("precision", ["int8", "bf16"])
@pytest.mark.parametrize("rows", [1, 32, 100, 124, 125, 252])
def test_products_are_those_of_the_host(directory: Path, clock: VirtualClock, precision: Precision, rows: int) -> None:
    bench = Bench(directory, clock, precision=precision)
    assert bench.gemm.device == f"npu:xdna2-{precision}-simulated"
    bench.assert_multiplies(rows)
    bench.assert_multiplies(rows)


def test_more_products_than_fit_in_flight_are_all_right(directory: Path, clock: VirtualClock) -> None:
    bench = Bench(directory, clock)
    inputs = [bench.operand((rows, K)) for rows in range(90, 110)]
    runs = [bench.gemm.start("w", x) for x in inputs]
    for run, x in zip(reversed(runs), reversed(inputs), strict=True):
        np.testing.assert_array_equal(run.result(), bench.host.start("w", x).result())
    assert bench.gemm.health.recoveries == 0


def test_buffers_are_recycled_and_never_shared_by_runs_in_flight(directory: Path, clock: VirtualClock) -> None:
    bench = Bench(directory, clock)
    seen: set[Buffers] = set()
    for _ in range(5):
        runs = [bench.gemm.start("w", bench.operand((9, K))) for _ in range(4)]
        buffers = buffers_in_flight(bench)
        assert len(set(buffers)) == 4
        seen.update(buffers)
        for run in runs:
            run.result()
    assert len(seen) == 4


@pytest.mark.parametrize(
    "x",
    [
        pytest.param(np.zeros((8, K + 1), np.int8), id="wrong-k"),
        pytest.param(np.zeros((8, K), np.uint16), id="wrong-dtype"),
        pytest.param(np.zeros((K, 8), np.int8).T, id="not-contiguous"),
        pytest.param(np.zeros((0, K), np.int8), id="empty"),
        pytest.param(np.zeros(K, np.int8), id="one-dimension"),
    ],
)
def test_activations_that_do_not_fit_are_rejected(directory: Path, clock: VirtualClock, x: NDArray[Any]) -> None:
    bench = Bench(directory, clock)
    with pytest.raises(ValueError, match="C-contiguous int8"):
        bench.gemm.start("w", x)
    bench.assert_multiplies()


def test_more_rows_than_any_kernel_takes_are_rejected(directory: Path, clock: VirtualClock) -> None:
    with pytest.raises(NoKernelError, match="M=253"):
        Bench(directory, clock).gemm.start("w", np.zeros((253, K), np.int8))


RUN_FAULTS = [
    pytest.param(faults.run_hangs, DeviceTimeoutError, "driver killed", id="tdr"),
    pytest.param(faults.run_aborts, DeviceAbortError, "aborted", id="abort"),
    pytest.param(faults.run_errs, DeviceError, "state 5", id="error"),
    pytest.param(faults.output_zeros, PoisonedOutputError, "known-answer", id="zeros"),
    pytest.param(faults.output_nan, PoisonedOutputError, "known-answer", id="nan"),
    pytest.param(lambda when: faults.output_constant(1, when), PoisonedOutputError, "known-answer", id="constant"),
    pytest.param(faults.instructions_missing, PoisonedOutputError, "known-answer", id="no-instructions"),
]


@pytest.mark.parametrize("precision", ["int8", "bf16"])
@pytest.mark.parametrize(("fault", "error", "message"), RUN_FAULTS)
def test_failed_run_raises_and_the_context_recovers(
    directory: Path, clock: VirtualClock, precision: Precision, fault: Any, error: type[DeviceError], message: str
) -> None:
    bench = Bench(directory, clock, fault(faults.nth(FIRST + 1)), precision=precision)
    bench.assert_multiplies()
    run = bench.gemm.start("w", bench.operand((100, K)))
    with pytest.raises(error, match=message):
        run.result()
    bench.assert_multiplies()
    assert bench.gemm.health.status == "healthy"
    assert bench.gemm.health.recoveries == 1


@pytest.mark.parametrize(("fault", "error", "message"), RUN_FAULTS)
def test_device_that_stays_broken_fails_for_good_with_the_reason(
    directory: Path, clock: VirtualClock, fault: Any, error: type[DeviceError], message: str
) -> None:
    bench = Bench(directory, clock, fault(faults.from_nth(FIRST)))
    with pytest.raises(error, match=message):
        bench.gemm.start("w", bench.operand((100, K))).result()
    for _ in range(2):
        with pytest.raises(DeviceFailedError, match=message):
            bench.gemm.start("w", bench.operand((100, K)))
    health = bench.gemm.health
    assert health.status == "failed"
    assert health.reason is not None
    assert "after rebuilding" in health.reason


def test_late_completion_never_reaches_a_later_product(directory: Path, clock: VirtualClock) -> None:
    late = faults.run_late(0.8, faults.nth(FIRST))
    bench = Bench(directory, clock, late, run_timeout_s=0.5)
    run = bench.gemm.start("w", bench.operand((100, K)))
    abandoned = buffers_in_flight(bench)
    with pytest.raises(DeviceTimeoutError, match=r"within 0\.5 s"):
        run.result()
    before = [buffers.c.copy() for buffers in abandoned]
    clock.sleep(1.0)
    for _ in range(5):
        bench.assert_multiplies()
    bench.gemm.start("w", bench.operand((100, K)))
    assert not set(abandoned) & set(buffers_in_flight(bench) + idle_buffers(bench))
    for buffers, image in zip(abandoned, before, strict=True):
        np.testing.assert_array_equal(buffers.c.view(np.int32), image.view(np.int32))


def test_runs_behind_a_failed_one_are_given_up_and_their_buffers_dropped(directory: Path, clock: VirtualClock) -> None:
    bench = Bench(directory, clock, faults.run_aborts(faults.nth(FIRST + 1)))
    inputs = [bench.operand((100, K)) for _ in range(4)]
    runs = [bench.gemm.start("w", x) for x in inputs]
    dropped = buffers_in_flight(bench)
    np.testing.assert_array_equal(runs[0].result(), bench.host.start("w", inputs[0]).result())
    with pytest.raises(DeviceAbortError, match="The driver aborted"):
        runs[1].result()
    for run in runs[2:]:
        with pytest.raises(DeviceAbortError, match="given up with its context"):
            run.result()
    bench.assert_multiplies()
    assert not set(dropped) & set(idle_buffers(bench))


def test_recovery_frees_the_old_context_before_it_takes_a_new_one(directory: Path, clock: VirtualClock) -> None:
    bench = Bench(directory, clock, faults.run_aborts(faults.nth(FIRST, FIRST + 3, FIRST + 6)), n_contexts=1)
    held = [XrtContext(bench.driver, bench.gemm._device, bench.gemm._kernels[:1], 5.0) for _ in range(MAX_CONTEXTS - 1)]
    for _ in range(3):
        with pytest.raises(DeviceAbortError):
            bench.gemm.start("w", bench.operand((100, K))).result()
    bench.assert_multiplies()
    assert bench.gemm.health.recoveries == 3
    assert len(held) == MAX_CONTEXTS - 1


def test_lost_device_fails_for_good(directory: Path, clock: VirtualClock) -> None:
    bench = Bench(directory, clock, faults.device_lost(faults.nth(FIRST + 1)))
    before = bench.gemm.start("w", bench.operand((100, K)))
    with pytest.raises(DeviceLostError, match="No such device"):
        bench.gemm.start("w", bench.operand((100, K)))
    with pytest.raises(DeviceAbortError, match="given up"):
        before.result()
    with pytest.raises(DeviceFailedError, match="No such device"):
        bench.gemm.start("w", bench.operand((100, K)))


def test_device_that_opens_at_the_third_attempt_is_used(directory: Path, clock: VirtualClock) -> None:
    Bench(directory, clock, faults.open_fails(faults.first(2))).assert_multiplies()
    with pytest.raises(DeviceLostError, match="No such device with index '0'"):
        Bench(directory, clock, faults.open_fails())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (faults.xclbin_missing("x"), "Failed to open file"),
        (faults.xclbin_corrupt(), "Invalid xclbin"),
        (faults.contexts_exhausted(), "CREATE_HWCTX"),
        (faults.kernel_missing("MLIR_AIE"), "No such kernel"),
        (faults.allocation_fails(), "Cannot allocate memory"),
        (faults.locking_fails(), "ulimit -l"),
        (faults.host_memory_fails(), "bad_alloc"),
        (faults.output_zeros(faults.always), "known-answer"),
        (faults.instructions_missing(faults.always), "known-answer"),
    ],
)
def test_device_that_cannot_start_says_why(
    directory: Path, clock: VirtualClock, fault: faults.Fault, message: str
) -> None:
    with pytest.raises(DeviceError, match=message):
        Bench(directory, clock, fault)


def test_failed_allocation_while_serving_costs_one_product(directory: Path, clock: VirtualClock) -> None:
    # Buffers so far: instructions of two kernels, a weight, and activations and product for the proof of each kernel.
    bench = Bench(directory, clock, faults.allocation_fails(faults.nth(8)))
    run = bench.gemm.start("w", bench.operand((9, K)))
    with pytest.raises(DeviceError, match="Cannot allocate memory"):
        bench.gemm.start("w", bench.operand((9, K)))
    with pytest.raises(DeviceAbortError):
        run.result()
    bench.assert_multiplies()


def test_products_spread_evenly_over_contexts_with_columns_of_their_own(directory: Path, clock: VirtualClock) -> None:
    bench = Bench(directory, clock, n_contexts=4, columns=2)
    began = clock.monotonic()
    runs = [bench.gemm.start("w", bench.operand((100, K))) for _ in range(16)]
    assert [len(context._runs) for context in bench.contexts] == [4, 4, 4, 4]
    for run in runs:
        run.result()
    # Sixteen products of 10 ms on four partitions of the device.
    assert 4 * GEMM_S <= clock.monotonic() - began < 5 * GEMM_S


def test_contexts_that_share_the_device_are_no_faster_than_one(directory: Path, clock: VirtualClock) -> None:
    took = {}
    for n_contexts in (1, 4):
        bench = Bench(directory, clock, n_contexts=n_contexts)
        began = clock.monotonic()
        for run in [bench.gemm.start("w", bench.operand((100, K))) for _ in range(16)]:
            run.result()
        took[n_contexts] = clock.monotonic() - began
    assert took[1] >= 16 * GEMM_S
    assert took[4] > took[1] + 10 * LatencyModel().switch_s, "each change of context configures the array anew"


def test_hang_on_an_old_kernel_fails_what_is_on_other_contexts_and_all_recover(
    directory: Path, clock: VirtualClock
) -> None:
    first = 2 * PROOFS + 1
    bench = Bench(directory, clock, faults.run_hangs(faults.nth(first)), n_contexts=2, hang_resets_all=True)
    hung = bench.gemm.start("w", bench.operand((100, K)))
    clock.advance(1.995)
    neighbour = bench.gemm.start("w", bench.operand((100, K)))
    assert [len(context._runs) for context in bench.contexts] == [1, 1]
    with pytest.raises(DeviceTimeoutError, match="driver killed"):
        hung.result()
    with pytest.raises(DeviceAbortError, match="The driver aborted"):
        neighbour.result()
    for _ in range(4):
        bench.assert_multiplies()
    assert bench.gemm.health == DeviceHealth("healthy", None, 2)


def test_hang_beside_busy_contexts_is_ended_by_our_own_timeout(directory: Path, clock: VirtualClock) -> None:
    bench = Bench(directory, clock, faults.run_hangs(faults.nth(2 * PROOFS + 1)), n_contexts=2)
    began = clock.monotonic()
    hung = bench.gemm.start("w", bench.operand((252, K)))
    while not hung.done():
        bench.assert_multiplies()
    with pytest.raises(DeviceTimeoutError, match=r"within 5\.0 s"):
        hung.result()
    # The context is given back while its run hangs, which blocks for 2 s more.
    assert 7.0 <= clock.monotonic() - began < 7.5


def test_xclbin_of_its_own_for_each_shape_takes_a_context_each(
    directory_of_xclbins: Path, directory: Path, clock: VirtualClock
) -> None:
    assert len(Bench(directory, clock).contexts) == 1
    bench = Bench(directory_of_xclbins, clock)
    assert len(bench.contexts) == 2
    for rows in (100, 252):
        bench.assert_multiplies(rows)


def test_device_without_the_context_of_one_xclbin_takes_no_product_of_any(
    directory_of_xclbins: Path, clock: VirtualClock
) -> None:
    bench = Bench(directory_of_xclbins, clock, faults.run_aborts(faults.nth(FIRST, FIRST + 1)))
    with pytest.raises(DeviceAbortError):
        bench.gemm.start("w", bench.operand((100, K))).result()
    assert [context.status for context in bench.contexts] == ["failed", "serving"]
    assert bench.gemm.health.status == "failed"
    with pytest.raises(DeviceFailedError, match="aborted"):
        bench.gemm.start("w", bench.operand((252, K)))


@pytest.mark.parametrize("compiled", ["native", "bfp16"])
@pytest.mark.parametrize("named", ["native", "bfp16"])
@pytest.mark.parametrize("rounding", ["conv_even", "floor"])
@pytest.mark.parametrize("k", [192, 512])
def test_known_answers_are_those_of_the_rounding_that_the_manifest_names(
    tmp_path: Path, clock: VirtualClock, named: Bf16, compiled: Bf16, k: int, rounding: Rounding
) -> None:
    write_kernels(tmp_path, [KernelShape(128, k, 256, "bf16", rounding=rounding, bf16=compiled)])
    for path in tmp_path.glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"bf16": named}))
    driver = Driver(create_module(SimulatorConfig(clock=clock)), simulated=True, clock=clock)
    gemm = XrtGemm(driver, read_kernels(tmp_path, simulated=True))
    # Like the weights of a trained layer: most are small, a few are not.
    weight = np.random.default_rng(0).standard_t(4, (k, 256)).astype(np.float32)
    # To the nearest, the tolerance of bfp16 is wide enough for a kernel that is more exact than its manifest says.
    is_believed = named == compiled or (named == "bfp16" and rounding == "conv_even")
    if not is_believed:
        with pytest.raises(PoisonedOutputError, match="field bf16 of its manifest"):
            gemm.load(GemmWeight("w", to_bfloat16(weight), "bf16"))
        return
    gemm.load(GemmWeight("w", to_bfloat16(weight), "bf16"))
    x = to_bfloat16(np.ones((9, k), np.float32))
    gemm.start("w", x).result()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError(" No such device with index '0'"), DeviceLostError),
        (RuntimeError("DRM_IOCTL_AMDXDNA_EXEC_CMD IOCTL failed (err=-19): No such device"), DeviceLostError),
        (RuntimeError("DRM_IOCTL_AMDXDNA_CREATE_HWCTX IOCTL failed (err=-22): Invalid argument"), DeviceBusyError),
        (RuntimeError("mmap failed (err=-11): Resource temporarily unavailable"), DeviceMemoryError),
        (MemoryError("std::bad_alloc"), DeviceMemoryError),
        (IndexError("vector::_M_range_check"), DriverMismatchError),
        (TypeError("incompatible constructor arguments"), DriverMismatchError),
        (RuntimeError("something else"), DeviceError),
    ],
)
def test_each_exception_of_pyxrt_is_told_as_its_kind(error: Exception, expected: type[DeviceError]) -> None:
    with pytest.raises(DeviceError, match="failed while testing") as told, DeviceErrors("testing"):
        raise error
    assert type(told.value) is expected
    assert told.value.__cause__ is error


def test_product_goes_to_the_context_that_owes_least(directory: Path, clock: VirtualClock) -> None:
    bench = Bench(directory, clock, n_contexts=2)
    bench.gemm.start("w", bench.operand((252, K)))
    for _ in range(2):
        bench.gemm.start("w", bench.operand((100, K)))
    # One product of 256 rows here, two of 128 there.
    assert [len(context._runs) for context in bench.contexts] == [1, 2]


def test_failed_context_leaves_the_others_serving(directory: Path, clock: VirtualClock) -> None:
    # The rebuilt context fails its proof as well: the two runs after the abort.
    first = 2 * PROOFS + 1
    bench = Bench(directory, clock, faults.run_aborts(faults.nth(first, first + 1)), n_contexts=2)
    with pytest.raises(DeviceAbortError):
        bench.gemm.start("w", bench.operand((100, K))).result()
    assert [context.status for context in bench.contexts] == ["failed", "serving"]
    for _ in range(6):
        bench.assert_multiplies()
    health = bench.gemm.health
    assert health.status == "degraded"
    assert health.reason is not None
    assert "aborted" in health.reason


def test_several_threads_get_their_own_products(directory: Path, clock: VirtualClock) -> None:
    bench = Bench(directory, clock, n_contexts=2)
    wrong: list[int] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(10):
            x = random.integers(-128, 128, (50, K), np.int8)
            if not np.array_equal(bench.gemm.start("w", x).result(), bench.host.start("w", x).result()):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def test_more_contexts_than_the_device_has_are_rejected_with_advice(directory: Path, clock: VirtualClock) -> None:
    driver = Driver(create_module(SimulatorConfig(clock=clock)), simulated=True, clock=clock)
    gemm = XrtGemm(driver, read_kernels(directory, simulated=True), n_contexts=MAX_CONTEXTS + 1)
    with pytest.raises(NoKernelError, match="set npu_contexts to 1"):
        gemm.load(GemmWeight("w", np.ones((K, N), np.int8), "int8"))


def test_closed_device_has_given_its_contexts_back(directory: Path, clock: VirtualClock) -> None:
    bench = Bench(directory, clock, n_contexts=8)
    bench.gemm.start("w", bench.operand((100, K)))
    bench.gemm.close()
    again = XrtGemm(bench.driver, read_kernels(directory, simulated=True), n_contexts=MAX_CONTEXTS)
    again.load(GemmWeight("w", np.ones((K, N), np.int8), "int8"))


def test_nan_of_a_wide_layer_does_not_leak_into_a_narrow_one(directory: Path, clock: VirtualClock) -> None:
    bench = Bench(directory, clock, precision="bf16")
    narrow = GemmWeight("narrow", bench.operand((8, N)), "bf16")
    bench.gemm.load(narrow)
    nan = to_bfloat16(np.full((100, K), np.nan, np.float32))
    assert np.isnan(bench.gemm.start("w", nan).result()).all()
    assert np.isfinite(bench.gemm.start("narrow", bench.operand((100, 8))).result()).all()
    assert bench.gemm.health.recoveries == 0


def buffers_in_flight(bench: Bench) -> list[Buffers]:
    return [flight.buffers for context in bench.contexts for flight in context._runs._in_flight]


def idle_buffers(bench: Bench) -> list[Buffers]:
    return list(_idle(bench))


def _idle(bench: Bench) -> Iterator[Buffers]:
    for context in bench.contexts:
        for buffers in context._hardware._idle.values():
            yield from buffers
