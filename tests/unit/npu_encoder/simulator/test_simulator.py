"""The simulated pyxrt where it differs from hardware that works: faults, traps, time."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from npu_encoder.simulator import (
    FaultPlan,
    LatencyModel,
    ProcessCrashError,
    RealClock,
    SimulatorConfig,
    StrictnessError,
    VirtualClock,
    create_module,
    faults,
    is_simulated,
)
from npu_encoder.simulator.buffers import POISON
from npu_encoder.simulator.kernels import InvalidKernelError, KernelShape, kernels_for, write_kernels
from npu_encoder.simulator.numerics import bf16_gemm, bfp16_gemm, int8_gemm
from npu_encoder.weights import EncoderDimensions
from tests.support.npu_session import Session

INT8, BF16 = KernelShape(128, 64, 256, "int8"), KernelShape(128, 64, 256, "bf16")
WHISPER_BASE = EncoderDimensions(n_mels=80, n_audio_ctx=1500, d_model=512, n_heads=8, n_layers=6)
SURFACE = {
    "bo": "cacheable device_only flags host_only map normal p2p read size svm sync write",
    "device": "get_info register_xclbin",
    "ert_cmd_state": None,
    "hw_context": "access_mode exclusive shared",
    "kernel": "group_id",
    "run": "set_arg start state wait",
    "uuid": "to_string",
    "xclBOSyncDirection": None,
    "xclbin": "get_kernels get_uuid",
    "xrt_info_device": None,
}


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("kernels")
    write_kernels(directory, [INT8, BF16, KernelShape(256, 64, 256, "int8")], share_xclbins=True)
    return directory


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def simulate(clock: VirtualClock, *plan: faults.Fault, **settings: Any) -> Any:
    return create_module(SimulatorConfig(clock=clock, **settings), FaultPlan(plan))


def open_session(xrt: Any, kernels: Path, shape: KernelShape = INT8, device: Any = None) -> Session:
    return Session.open(xrt, kernels, shape.name, device)


def state(xrt: Any, name: str) -> Any:
    return getattr(xrt.ert_cmd_state, f"ERT_CMD_STATE_{name}")


def untouched(output: Any) -> bool:
    return bool((output.view(np.uint32) == POISON).all())


# The module


def test_module_offers_nothing_that_pyxrt_lacks(clock: VirtualClock) -> None:
    xrt = simulate(clock)
    public = {name for name in vars(xrt) if not name.startswith("_")}
    assert public == set(SURFACE)
    for name, members in SURFACE.items():
        if members is not None:
            assert {member for member in dir(getattr(xrt, name)) if not member.startswith("_")} == set(members.split())
    assert is_simulated(xrt)
    assert not is_simulated(ModuleType("pyxrt"))


def test_real_xclbin_is_rejected(clock: VirtualClock, tmp_path: Path) -> None:
    path = tmp_path / "real.xclbin"
    path.write_bytes(b"xclbin2\0" + bytes(100))
    with pytest.raises(RuntimeError, match=r"Invalid xclbin.*runs no other"):
        simulate(clock).xclbin(str(path))


def test_damaged_xclbin_is_rejected(clock: VirtualClock, kernels: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.xclbin"
    path.write_bytes((kernels / f"{INT8.name}.xclbin").read_bytes()[:-10])
    with pytest.raises(RuntimeError, match=r"Invalid xclbin.*damaged"):
        simulate(clock).xclbin(str(path))


# Memory


def test_memory_moves_only_by_sync(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock)
    session = open_session(xrt, kernels)
    product = session.send_small_integers()
    session.a.write(np.zeros(session.a.size(), np.int8), 0)  # stays on the host
    assert session.run().wait() == state(xrt, "COMPLETED")
    assert untouched(session.c.read(session.c.size(), 0))
    np.testing.assert_array_equal(session.output(), product)


def test_partial_sync_moves_a_part(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock)
    session = open_session(xrt, kernels)
    product = session.send_small_integers()
    session.run().wait()
    row = 4 * INT8.n
    session.c.sync(xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE, row, 2 * row)
    host = session.c.read(session.c.size(), 0).view(np.int32).reshape(INT8.m, INT8.n)
    np.testing.assert_array_equal(host[2], product[2])
    assert untouched(host[:2])
    assert untouched(host[3:])


def test_view_of_a_dead_buffer_is_poisoned(clock: VirtualClock, kernels: Path) -> None:
    session = open_session(simulate(clock), kernels)
    session.c.write(np.zeros(session.c.size(), np.int8), 0)
    view = np.frombuffer(session.c.map(), np.int32)
    session.c = None
    gc.collect()
    assert untouched(view)


def test_write_ignores_strides(clock: VirtualClock, kernels: Path) -> None:
    strided = np.arange(32, dtype=np.int8)[::2]
    session = open_session(simulate(clock), kernels)
    session.a.write(strided, 0)
    np.testing.assert_array_equal(session.a.read(16, 0), np.arange(16))
    strict = open_session(simulate(VirtualClock(), strict=True), kernels)
    with pytest.raises(StrictnessError, match="C-contiguous"):
        strict.a.write(strided, 0)


def test_unsupported_flags(clock: VirtualClock) -> None:
    xrt = simulate(clock)
    with pytest.raises(RuntimeError, match="err=95"):
        xrt.bo(xrt.device(0), 64, xrt.bo.normal, 0)


# Arguments


@pytest.mark.parametrize(
    ("index", "value", "outcome"),
    [(0, 2, "ERROR"), (0, 3.0, "ERROR"), (2, 63, "ERROR"), (2, 0, "COMPLETED"), (2, 1 << 31, "COMPLETED")],
)
def test_bad_argument_is_silent_unless_strict(
    kernels: Path, index: int, value: float, outcome: str, clock: VirtualClock
) -> None:
    def call(xrt: Any) -> tuple[Session, Any]:
        session = open_session(xrt, kernels)
        session.send_small_integers()
        arguments = [3, session.instructions, 64, session.a, session.b, session.c]
        arguments[index] = value
        return session, session.kernel(*arguments)

    xrt = simulate(clock)
    session, run = call(xrt)
    assert run.wait() == state(xrt, outcome)
    assert untouched(session.output())
    with pytest.raises(StrictnessError):
        call(simulate(clock, strict=True))


def test_instructions_that_were_never_synced_complete_with_garbage(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock)
    session = open_session(xrt, kernels)
    session.instructions = xrt.bo(session.device, 256, xrt.bo.cacheable, session.kernel.group_id(1))
    session.send_small_integers()
    assert session.run().wait() == state(xrt, "COMPLETED")
    assert untouched(session.output())


def test_output_buffer_of_another_context_is_copied_and_stays_untouched(
    clock: VirtualClock, kernels: Path, caplog: pytest.LogCaptureFixture
) -> None:
    xrt = simulate(clock)
    device = xrt.device(0)
    other, session = (open_session(xrt, kernels, device=device) for _ in range(2))
    assert other.kernel.group_id(5) != session.kernel.group_id(5)
    product = session.send_small_integers()
    own, session.c = session.c, other.c
    assert session.run().wait() == state(xrt, "COMPLETED")
    assert untouched(session.output())
    assert "Allocating local copy of argument buffer" in caplog.text
    session.c = own
    session.run().wait()
    np.testing.assert_array_equal(session.output(), product)


def test_operand_of_another_context_is_copied_and_counts(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock)
    device = xrt.device(0)
    other, session = (open_session(xrt, kernels, device=device) for _ in range(2))
    product = session.send_small_integers(seed=1)
    other.send_small_integers(seed=1)
    session.a = other.a
    session.run().wait()
    np.testing.assert_array_equal(session.output(), product)


def test_buffer_of_another_context_is_an_error_in_strict_mode(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock, strict=True)
    device = xrt.device(0)
    other, session = (open_session(xrt, kernels, device=device) for _ in range(2))
    session.c = other.c
    with pytest.raises(StrictnessError, match="a copy is used"):
        session.run()


def test_buffer_that_is_too_small_is_an_error(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock)
    session = open_session(xrt, kernels)
    session.c = xrt.bo(session.device, 1024, xrt.bo.host_only, session.kernel.group_id(5))
    assert session.run().wait() == state(xrt, "ERROR")


def test_surplus_buffer_argument_would_crash_the_process(clock: VirtualClock, kernels: Path) -> None:
    session = open_session(simulate(clock), kernels)
    with pytest.raises(ProcessCrashError):
        session.kernel(3, session.instructions, 64, session.a, session.b, session.c, *[session.c] * 3)


def test_instructions_choose_the_shape_of_a_shared_xclbin(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock)
    for shape in (INT8, KernelShape(256, 64, 256, "int8")):
        session = open_session(xrt, kernels, shape)
        product = session.send_small_integers()
        session.run().wait()
        np.testing.assert_array_equal(session.output(), product)


# Execution


def test_run_in_flight_cannot_be_started_again(clock: VirtualClock, kernels: Path) -> None:
    run = open_session(simulate(clock), kernels).run()
    with pytest.raises(RuntimeError, match="bad command state, can't launch"):
        run.start()


def test_fifth_command_waits_for_the_first(clock: VirtualClock, kernels: Path) -> None:
    session = open_session(simulate(clock, latency=LatencyModel.for_window(1.0, 1)), kernels)
    begin = clock.monotonic()
    runs = [session.run() for _ in range(4)]
    assert clock.monotonic() == begin
    runs.append(session.run())
    assert clock.monotonic() - begin == pytest.approx(1.0)
    runs[-1].wait()
    assert clock.monotonic() - begin == pytest.approx(5.0)


@pytest.mark.parametrize(("columns_per_context", "expected_s"), [(None, 8.0), (4, 4.0), (1, 1.0)])
def test_contexts_share_the_device_unless_partitioned(
    clock: VirtualClock, kernels: Path, columns_per_context: int | None, expected_s: float
) -> None:
    """Only the first is what the firmware of today does."""
    latency = LatencyModel.for_window(1.0, 1)
    xrt = simulate(clock, latency=latency, columns_per_context=columns_per_context)
    device = xrt.device(0)
    sessions = [open_session(xrt, kernels, device=device) for _ in range(8)]
    begin = clock.monotonic()
    for run in [session.run() for session in sessions]:
        run.wait()
    assert clock.monotonic() - begin == pytest.approx(expected_s)


def test_sixteen_contexts_freed_with_their_last_reference(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock)
    device = xrt.device(0)
    sessions = [open_session(xrt, kernels, device=device) for _ in range(16)]
    with pytest.raises(RuntimeError, match=r"CREATE_HWCTX IOCTL failed \(err=-22\): Invalid argument"):
        open_session(xrt, kernels, device=device)
    sessions[0].context = None
    with pytest.raises(RuntimeError, match="CREATE_HWCTX"):  # its kernel still lives
        open_session(xrt, kernels, device=device)
    del sessions[0]
    open_session(xrt, kernels, device=device)


def test_change_of_context_takes_time(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock, latency=LatencyModel.for_window(1.0, 1, switch_s=0.1))
    device = xrt.device(0)
    first, second = (open_session(xrt, kernels, device=device) for _ in range(2))
    begin = clock.monotonic()
    for session in (first, first, second, first):
        session.run().wait()
    assert clock.monotonic() - begin == pytest.approx(4.2)
    assert LatencyModel().switch_s == 0.0027


def test_context_that_is_given_back_while_it_works_blocks_and_ends_its_runs(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock, faults.run_late(1.0, faults.nth(1)), faults.run_late(60.0, faults.nth(2)), tdr_s=100.0)
    device = xrt.device(0)
    for blocked_s in (1.0, 2.0):
        session = open_session(xrt, kernels, device=device)
        session.run()
        begin = clock.monotonic()
        del session
        gc.collect()
        assert clock.monotonic() - begin == pytest.approx(blocked_s, abs=1e-3)
    open_session(xrt, kernels, device=device).run().wait()


def test_latency_adds_up(clock: VirtualClock, kernels: Path) -> None:
    session = open_session(simulate(clock), kernels)
    setup = clock.monotonic()
    assert setup == pytest.approx(0.011 + 0.035, abs=1e-3)
    session.run().wait()
    gemm = 2 * INT8.m * INT8.k * INT8.n / 10e12
    assert clock.monotonic() - setup == pytest.approx(1e-4 + gemm, abs=1e-9)
    clock.advance(10.1)
    idle = clock.monotonic()
    session.run().wait()
    assert clock.monotonic() - idle == pytest.approx(0.135 + 1e-4 + gemm, abs=1e-9)


def test_timing_only_computes_the_rows_that_a_driver_checks(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock, exact_commands=1)
    session = open_session(xrt, kernels)
    product = session.send_small_integers()
    session.run().wait()
    np.testing.assert_array_equal(session.output(), product)
    session.run().wait()
    output = session.output()
    np.testing.assert_array_equal(output[31::32], product[31::32])
    assert (np.delete(output, np.s_[31::32], axis=0) == 1).all()
    assert "results are wrong" in session.device.get_info(xrt.xrt_info_device.name)


def test_waiting_on_the_real_clock_burns_no_cpu_and_releases_the_gil(kernels: Path) -> None:
    latency = LatencyModel.for_window(0.1, 1)
    run = open_session(create_module(SimulatorConfig(latency=latency, clock=RealClock())), kernels).run()
    cpu_times = []

    def wait() -> None:
        before = time.thread_time()
        run.wait()
        cpu_times.append(time.thread_time() - before)

    waiters = [threading.Thread(target=wait) for _ in range(4)]
    begin = time.monotonic()
    for waiter in waiters:
        waiter.start()
    for waiter in waiters:
        waiter.join()
    assert time.monotonic() - begin > 0.08
    assert sum(cpu_times) < 0.08


# Faults


def test_missing_module() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'pyxrt'"):
        create_module(faults=FaultPlan([faults.module_missing()]))


def test_open_fails_a_few_times(clock: VirtualClock) -> None:
    xrt = simulate(clock, faults.open_fails(faults.first(2)))
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"^ No such device with index '0'$"):
            xrt.device(0)
    xrt.device(0)


def test_reopening_in_a_loop_ends_in_no_device(clock: VirtualClock) -> None:
    xrt = simulate(clock, max_opens=3)
    for _ in range(3):
        xrt.device(0)
    with pytest.raises(RuntimeError, match="No such device"):
        xrt.device(0)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (faults.open_fails(), "No such device"),
        (faults.xclbin_missing("k.xclbin"), "Failed to open file 'k.xclbin' for reading"),
        (faults.xclbin_corrupt(), "Invalid xclbin"),
        (faults.contexts_exhausted(), "CREATE_HWCTX IOCTL failed"),
        (faults.kernel_missing("MLIR_AIE"), "No such kernel 'MLIR_AIE': Invalid argument"),
        (faults.allocation_fails(faults.nth(3)), "Cannot allocate memory"),
    ],
)
def test_setup_fails(clock: VirtualClock, kernels: Path, fault: faults.Fault, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        open_session(simulate(clock, fault), kernels)


def test_lost_device_comes_back_only_when_opened_anew(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock, faults.device_lost(faults.nth(2)))
    session = open_session(xrt, kernels)
    before = session.run()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="err=-19"):
            session.run()
    assert before.state() == state(xrt, "ABORT")
    with pytest.raises(RuntimeError, match="err=-19"):
        open_session(xrt, kernels, device=session.device)
    assert open_session(xrt, kernels).run().wait() == state(xrt, "COMPLETED")


def test_late_completion_writes_after_the_timeout(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock, faults.run_late(1.5, faults.nth(1)))
    session = open_session(xrt, kernels)
    product = session.send_small_integers()
    run = session.run()
    assert run.wait(1000) == state(xrt, "TIMEOUT")
    assert run.state() == state(xrt, "NEW")
    assert untouched(session.output())
    del run
    clock.advance(1.0)
    np.testing.assert_array_equal(session.output(), product)


def test_driver_kills_a_hanging_run(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock, faults.run_hangs(faults.nth(1)))
    session = open_session(xrt, kernels)
    begin = clock.monotonic()
    run, behind = session.run(), session.run()
    assert run.wait() == state(xrt, "TIMEOUT") == run.state()
    assert clock.monotonic() - begin == pytest.approx(2.0, abs=1e-3)
    assert behind.state() == state(xrt, "ABORT")
    assert session.run().wait() == state(xrt, "COMPLETED")


def test_hang_beside_a_busy_context_is_killed_only_when_that_rests(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock, faults.run_hangs(faults.nth(1)), latency=LatencyModel.for_window(1.0, 1))
    device = xrt.device(0)
    hung, busy = (open_session(xrt, kernels, device=device) for _ in range(2))
    run = hung.run()
    for _ in range(5):
        assert busy.run().wait() == state(xrt, "COMPLETED")
    assert run.state() == state(xrt, "NEW")
    begin = clock.monotonic()
    assert run.wait() == state(xrt, "TIMEOUT")
    assert clock.monotonic() - begin == pytest.approx(2.0, abs=1e-2)


def test_old_kernel_resets_all_contexts_after_a_hang(clock: VirtualClock, kernels: Path) -> None:
    latency = LatencyModel.for_window(1.5, 1)
    xrt = simulate(clock, faults.run_hangs(faults.nth(1)), latency=latency, hang_resets_all=True)
    device = xrt.device(0)
    hung, busy = (open_session(xrt, kernels, device=device) for _ in range(2))
    run = hung.run()
    assert busy.run().wait() == state(xrt, "COMPLETED")
    neighbour = busy.run()
    assert run.wait() == state(xrt, "TIMEOUT")
    assert clock.monotonic() == pytest.approx(2.0, abs=0.1)
    assert neighbour.state() == state(xrt, "ABORT")
    assert busy.run().wait() == state(xrt, "COMPLETED")


@pytest.mark.parametrize(
    ("fault", "name"),
    [(faults.run_aborts, "ABORT"), (faults.run_errs, "ERROR"), (faults.instructions_missing, "COMPLETED")],
)
def test_run_that_writes_nothing(clock: VirtualClock, kernels: Path, fault: Any, name: str) -> None:
    xrt = simulate(clock, fault(faults.nth(2)))
    session = open_session(xrt, kernels)
    session.run().wait()
    session.c = xrt.bo(session.device, session.c.size(), xrt.bo.host_only, session.kernel.group_id(5))
    assert session.run().wait() == state(xrt, name)
    assert untouched(session.output())
    assert session.run().wait() == state(xrt, "COMPLETED")


def test_wrong_output_claims_completion(clock: VirtualClock, kernels: Path) -> None:
    plan = (
        faults.output_zeros(faults.nth(1)),
        faults.output_constant(7, faults.nth(2)),
        faults.output_nan(faults.nth(3)),
    )
    xrt = simulate(clock, *plan)
    session = open_session(xrt, kernels, BF16)
    outputs = []
    for _ in plan:
        assert session.run().wait() == state(xrt, "COMPLETED")
        outputs.append(session.output())
    assert (outputs[0] == 0).all()
    assert (outputs[1].view(np.uint32) == 7).all()
    assert np.isnan(outputs[2]).all()


def test_fault_can_choose_by_shape(clock: VirtualClock, kernels: Path) -> None:
    xrt = simulate(clock, faults.run_errs(lambda call: call.shape == BF16))
    assert open_session(xrt, kernels, INT8).run().wait() == state(xrt, "COMPLETED")
    assert open_session(xrt, kernels, BF16).run().wait() == state(xrt, "ERROR")


def test_strict_mode_sees_a_sync_into_a_running_gemm(clock: VirtualClock, kernels: Path) -> None:
    session = open_session(simulate(clock, strict=True), kernels)
    run = session.run()
    with pytest.raises(StrictnessError, match="in flight"):
        session.send_small_integers()
    run.wait()
    session.send_small_integers()


# Numbers and kernels


def test_int8_is_exact_at_its_extremes() -> None:
    a, b = np.full((4, 5000), -128, np.int8), np.full((5000, 3), -128, np.int8)
    b[::2] = 127
    np.testing.assert_array_equal(int8_gemm(a, b), a.astype(np.int32) @ b.astype(np.int32))


def test_only_conversions_to_bfp16_can_be_biased() -> None:
    random = np.random.default_rng(0)
    wide_a, wide_b = random.uniform(1, 2, (64, 2048)), random.standard_normal((2048, 64))
    a, b = ((wide.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16) for wide in (wide_a, wide_b))
    exact = _widen(a) @ _widen(b)
    floor = bfp16_gemm(a, b, rounding="floor") - exact
    even = bfp16_gemm(a, b, rounding="conv_even") - exact
    native = bf16_gemm(a, b) - exact
    assert (floor < 0).all()
    assert abs(even.mean()) < 0.05 * abs(floor.mean())
    assert np.abs(native).max() < 0.1 * np.abs(even).max()


def test_bfp16_keeps_small_integers_and_loses_what_is_small_beside_its_neighbours() -> None:
    ones = np.ones((8, 1), np.float32)
    rows = np.array([[8, -8, 7, 1, 0, -1, 3, 5], [127, 0.25, 0, 0, 0, 0, 0, 0]], np.float32)
    a, b = ((wide.view(np.uint32) >> 16).astype(np.uint16) for wide in (rows, ones))
    np.testing.assert_array_equal(bfp16_gemm(a, b, rounding="conv_even"), [[15], [127]])
    np.testing.assert_array_equal(bf16_gemm(a, b), [[15], [127.25]])


def _widen(bits: Any) -> Any:
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def test_kernels_of_whisper_base() -> None:
    shapes = kernels_for(WHISPER_BASE, [3000, 400, 500, 512], ["int8"])
    assert {shape.m for shape in shapes} == {1536, 256, 384}
    assert {(shape.k, shape.n) for shape in shapes} == {(512, 1536), (512, 512), (512, 2048), (2048, 512)}


def test_narrow_layers_are_padded() -> None:
    tiny = EncoderDimensions(n_mels=80, n_audio_ctx=1500, d_model=384, n_heads=6, n_layers=4)
    assert {(s.k, s.n) for s in kernels_for(tiny, [3000])} == {(384, 1280), (384, 512), (384, 1536), (1536, 512)}


def test_shape_that_does_not_fill_the_array() -> None:
    with pytest.raises(InvalidKernelError, match="multiples of"):
        KernelShape(1500, 512, 512, "int8")
