"""The behaviour of pyxrt that this project relies on, checked on the simulator and, where there is one, the device."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npu_encoder.bfloat16 import to_bfloat16
from npu_encoder.clock import Clock
from npu_encoder.npu.known_answers import KnownAnswers
from npu_encoder.simulator import SimulatorConfig, VirtualClock, create_module, is_simulated
from npu_encoder.simulator.kernels import KernelShape, write_kernels
from tests.support.npu_session import Session

KERNELS_VARIABLE = "AMANUENSIS_NPU_KERNELS"
SHAPES = [KernelShape(128, 64, 256, "int8"), KernelShape(128, 64, 256, "bf16")]


SIMULATED_TIME = VirtualClock()


@pytest.fixture(scope="module", params=["sim", "hw"])
def xrt(request: pytest.FixtureRequest) -> Any:
    if request.param == "sim":
        return create_module(SimulatorConfig(clock=SIMULATED_TIME))
    if KERNELS_VARIABLE not in os.environ:
        pytest.skip(f"{KERNELS_VARIABLE} names no directory of compiled kernels")
    return pytest.importorskip("pyxrt", reason="XRT with its Python binding is not installed", exc_type=ImportError)


@pytest.fixture(scope="module")
def device(xrt: Any) -> Any:
    return xrt.device(0)


@pytest.fixture(scope="module")
def kernels(xrt: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not is_simulated(xrt):
        return Path(os.environ[KERNELS_VARIABLE])
    directory = tmp_path_factory.mktemp("kernels")
    write_kernels(directory, SHAPES)
    return directory


@pytest.fixture(params=["int8", "bf16"])
def session(request: pytest.FixtureRequest, xrt: Any, device: Any, kernels: Path) -> Session:
    manifests = sorted(kernels.glob(f"*{request.param}*.json"))
    if not manifests:
        pytest.skip(f"no {request.param} kernel in {kernels}")
    return Session.open(xrt, kernels, manifests[0].stem, device)


def test_enumerations_have_the_values_of_the_c_api(xrt: Any) -> None:
    states = {"NEW": 1, "QUEUED": 2, "COMPLETED": 4, "ERROR": 5, "ABORT": 6, "SUBMITTED": 7, "TIMEOUT": 8}
    for name, value in states.items():
        assert int(getattr(xrt.ert_cmd_state, f"ERT_CMD_STATE_{name}")) == value
    assert int(xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE) == 0
    assert int(xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE) == 1
    assert int(xrt.bo.flags.host_only) == 1 << 29
    assert int(xrt.bo.cacheable) == 1 << 24
    assert int(xrt.xrt_info_device.name) == 5
    assert xrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED != 4


def test_device_names_itself(xrt: Any, device: Any) -> None:
    assert "npu" in device.get_info(xrt.xrt_info_device.name).lower()
    assert device.get_info(xrt.xrt_info_device.bdf).count(":") == 2


def test_missing_device_is_a_runtime_error(xrt: Any) -> None:
    with pytest.raises(RuntimeError, match="No such device with index '63'"):
        xrt.device(63)


def test_xclbin_lists_its_kernel(xrt: Any, session: Session, kernels: Path) -> None:
    xclbin = xrt.xclbin(str(kernels / f"{session.manifest['name']}.xclbin"))
    (kernel,) = xclbin.get_kernels()
    assert kernel.get_name() == session.manifest["kernel"]
    assert kernel.get_num_args() == 8
    assert len(xclbin.get_uuid().to_string()) == 36


def test_missing_xclbin_is_a_runtime_error(xrt: Any, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Failed to open file"):
        xrt.xclbin(str(tmp_path / "none.xclbin"))


def test_unknown_kernel_name_is_a_runtime_error(xrt: Any, session: Session) -> None:
    with pytest.raises(RuntimeError, match="No such kernel"):
        xrt.kernel(session.context, "NONE")


def test_buffer_keeps_what_was_written(session: Session) -> None:
    data = np.arange(64, dtype=np.int8)
    session.a.write(data, 32)
    np.testing.assert_array_equal(session.a.read(64, 32), data)
    view = session.a.map()
    assert not view.readonly
    assert view.nbytes == session.a.size()
    view[32] = 99
    assert session.a.read(1, 32)[0] == 99


def test_buffer_refuses_what_does_not_fit(session: Session) -> None:
    with pytest.raises(RuntimeError, match="attempting to write past buffer size"):
        session.a.write(np.zeros(session.a.size(), np.int8), 1)
    with pytest.raises(RuntimeError, match="attempting to read past buffer size"):
        session.a.read(session.a.size(), 1)


def test_read_and_write_want_all_their_arguments(session: Session) -> None:
    with pytest.raises(TypeError):
        session.a.write(np.zeros(1, np.int8))
    with pytest.raises(TypeError):
        session.a.read()


def test_known_answer(xrt: Any, session: Session) -> None:
    expected = session.send_small_integers()
    assert session.run().wait(5000) == xrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED
    np.testing.assert_array_equal(session.output(), expected)


def test_polling_sees_the_end(xrt: Any, session: Session) -> None:
    expected = session.send_small_integers(seed=1)
    run = session.run()
    states = xrt.ert_cmd_state
    while run.state() in (states.ERT_CMD_STATE_NEW, states.ERT_CMD_STATE_QUEUED, states.ERT_CMD_STATE_SUBMITTED):
        pass
    assert run.state() == states.ERT_CMD_STATE_COMPLETED
    np.testing.assert_array_equal(session.output(), expected)


def test_run_object_runs_again(xrt: Any, session: Session) -> None:
    run = xrt.run(session.kernel)
    arguments = (3, session.instructions, session.manifest["n_instructions"], session.a, session.b, session.c)
    for index, argument in enumerate(arguments):
        run.set_arg(index, argument)
    for seed in range(2):
        expected = session.send_small_integers(seed)
        run.start()
        assert run.wait() == xrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED
        np.testing.assert_array_equal(session.output(), expected)


def test_number_has_no_memory_group(session: Session) -> None:
    with pytest.raises(IndexError):
        session.kernel.group_id(0)


def test_memory_groups_of_two_contexts_differ(xrt: Any, device: Any, session: Session, kernels: Path) -> None:
    other = Session.open(xrt, kernels, session.manifest["name"], device)
    assert other.kernel.group_id(3) != session.kernel.group_id(3)


def test_two_contexts_give_their_own_products(xrt: Any, device: Any, session: Session, kernels: Path) -> None:
    other = Session.open(xrt, kernels, session.manifest["name"], device)
    expected = [each.send_small_integers(seed) for seed, each in enumerate((session, other))]
    for run in [each.run() for each in (session, other)]:
        assert run.wait(5000) == xrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED
    for each, product in zip((session, other), expected, strict=True):
        np.testing.assert_array_equal(each.output(), product)


def test_two_contexts_are_no_faster_than_one(xrt: Any, device: Any, session: Session, kernels: Path) -> None:
    clock: Clock = SIMULATED_TIME if is_simulated(xrt) else time
    other = Session.open(xrt, kernels, session.manifest["name"], device)
    took_s = {}
    for name, sessions in {"one": [session] * 8, "two": [session, other] * 4}.items():
        for each in sessions:
            each.send_small_integers()
        began = clock.monotonic()
        for run in [each.run() for each in sessions]:
            run.wait(5000)
        took_s[name] = clock.monotonic() - began
    assert took_s["two"] > 0.8 * took_s["one"], "this firmware partitions space: tell us, several contexts would pay"


def test_bf16_is_multiplied_as_the_manifest_says(session: Session) -> None:
    if session.manifest["in_dtype"] != "bf16":
        pytest.skip("int8 has no rounding")
    m, k, n = (session.manifest[size] for size in "mkn")
    # Like the weights of a trained layer: most are small, a few are not.
    weight = to_bfloat16(np.random.default_rng(0).standard_t(4, (k, n)).astype(np.float32))
    known = KnownAnswers(weight, "bf16", session.manifest["bf16"], session.manifest["rounding"])
    session.send(np.resize(known.questions, (m, k)), weight)
    session.run().wait(5000)
    assert known.matches(session.output())


def test_context_is_free_again_with_its_last_reference(xrt: Any, device: Any, session: Session, kernels: Path) -> None:
    name = session.manifest["name"]
    for _ in range(20):
        opened = Session.open(xrt, kernels, name, device)
        opened.send_small_integers()
        assert opened.run().wait(5000) == xrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED


def test_buffer_needs_all_its_arguments_in_their_types(xrt: Any, device: Any, session: Session) -> None:
    with pytest.raises(TypeError):
        xrt.bo(device, 4096, 1 << 29, session.kernel.group_id(3))


def test_set_arg_refuses_a_float(xrt: Any, session: Session) -> None:
    with pytest.raises(TypeError):
        xrt.run(session.kernel).set_arg(0, 3.0)
