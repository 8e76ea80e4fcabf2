"""The encoder on each CPU backend, against CTranslate2 in float32 on real speech."""

import mmap
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.audio import decode_audio
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from npu_encoder.backend import EncoderBackend
from npu_encoder.errors import InvalidWindowError, ProviderError, UnsupportedPrecisionError
from npu_encoder.loading import BackendName, load_backend
from tests.support.paths import ROOT

DEMO_MODEL = ROOT / "tests" / "models" / "demo-en"
N_MELS, D_MODEL, N_SAMPLES = 80, 192, 480_000
COMPARED = (300, 500)

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Kind:
    """A backend and the distance that its states may have from float32, on any CPU that has its precision.

    bf16: what the design asks of a token, 0.999. int8: CPUs without VNNI add pairs of products in 16 bits, which
    saturate; the worst token of a full window is then at 0.96 (with VNNI at 0.996), the window at 0.997.
    """

    backend: BackendName
    precision: str
    window_cosine: float
    token_cosine: float
    max_error: float
    threads: int = 1


KINDS = [
    pytest.param(Kind("openvino", "bf16", 0.9999, 0.999, 0.2), id="openvino-bf16"),
    pytest.param(Kind("openvino", "f32", 0.999999, 0.999999, 1e-4), id="openvino-f32"),
    pytest.param(Kind("openvino", "f32", 0.999999, 0.999999, 1e-4, threads=2), id="openvino-f32-two-threads"),
    pytest.param(Kind("ctranslate2", "int8", 0.99, 0.95, 1.0), id="ctranslate2-int8"),
    pytest.param(Kind("onnxruntime", "f32", 0.999999, 0.999999, 1e-4), id="onnxruntime-f32"),
]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    assert isinstance(request.param, Kind)
    return request.param


@pytest.fixture(scope="module")
def backend(kind: Kind) -> Iterator[EncoderBackend]:
    try:
        backend = load_backend(DEMO_MODEL, backend=kind.backend, precision=kind.precision, threads=kind.threads)
    except UnsupportedPrecisionError as error:
        pytest.skip(str(error))
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def log_mels() -> list[FloatArray]:
    """The log-mel ``[80, 3000]`` of every other clip, padded with silence to 30 s."""
    extract = FeatureExtractor(feature_size=N_MELS)
    clips = [decode_audio(str(path)) for path in sorted((ROOT / "tests" / "audio").glob("*.wav"))[1::2]]
    return [extract(np.pad(clip, (0, N_SAMPLES - len(clip))), padding=0) for clip in clips]


@pytest.fixture(scope="module")
def windows(log_mels: list[FloatArray]) -> dict[int, list[FloatArray]]:
    """The windows whose states are compared with float32, by their length."""
    cut = {frames: [trim(log_mel, frames) for log_mel in log_mels] for frames in COMPARED}
    # Full windows are slow in the reference: the shortest and the longest clip speak for the others.
    return cut | {3000: log_mels[::5]}


@pytest.fixture(scope="module")
def in_float32(windows: dict[int, list[FloatArray]]) -> dict[int, list[FloatArray]]:
    """The states of the windows in CTranslate2's float32."""
    reference = load_backend(DEMO_MODEL, backend="ctranslate2", precision="float32")
    return {frames: encode(reference, *log_mels) for frames, log_mels in windows.items()}


def trim(log_mel: FloatArray, frames: int) -> FloatArray:
    return np.ascontiguousarray(log_mel[:, :frames])


def encode(backend: EncoderBackend, *log_mels: FloatArray) -> list[FloatArray]:
    states = [np.full((log_mel.shape[1] // 2, D_MODEL), np.nan, np.float32) for log_mel in log_mels]
    backend.encode(log_mels, states)
    return states


def cosine(a: FloatArray, b: FloatArray) -> NDArray[np.float64]:
    """Return the cosine of each pair of rows."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    cosines: NDArray[np.float64] = np.vecdot(x, y) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)
    return cosines


@pytest.mark.parametrize("frames", [*COMPARED, 3000])
def test_states_agree_with_float32(
    kind: Kind,
    backend: EncoderBackend,
    windows: dict[int, list[FloatArray]],
    in_float32: dict[int, list[FloatArray]],
    frames: int,
) -> None:
    pairs = list(zip(encode(backend, *windows[frames]), in_float32[frames], strict=True))

    assert min(float(cosine(a.ravel(), b.ravel())) for a, b in pairs) > kind.window_cosine
    assert min(float(cosine(a, b).min()) for a, b in pairs) > kind.token_cosine
    assert max(float(np.abs(a - b).max()) for a, b in pairs) < kind.max_error


def test_a_window_never_depends_on_its_batch(backend: EncoderBackend, log_mels: list[FloatArray]) -> None:
    lengths = [300, 400, 300, 384, 400, 500]
    windows = [trim(log_mel, frames) for log_mel, frames in zip(log_mels, lengths, strict=False)]
    alone = [encode(backend, window)[0] for window in windows]

    for batch, expected in [(windows, alone), (windows[::-1], alone[::-1]), (windows[:2], alone[:2])]:
        for actual, single in zip(encode(backend, *batch), expected, strict=True):
            np.testing.assert_array_equal(actual, single)


@dataclass(frozen=True, eq=False)
class Arrays:
    log_mel: FloatArray
    states: FloatArray


def test_windows_that_come_one_by_one(backend: EncoderBackend, log_mels: list[FloatArray]) -> None:
    windows = [Arrays(trim(log_mel, 400), np.full((200, D_MODEL), np.nan, np.float32)) for log_mel in log_mels[:5]]
    arrivals = iter(windows)
    outcomes = list(backend.encode_each(lambda: next(arrivals, None), 2))
    assert {outcome for _, outcome in outcomes} == {backend.device}
    assert sorted(map(id, (window for window, _ in outcomes))) == sorted(map(id, windows))
    for window in windows:
        np.testing.assert_array_equal(window.states, encode(backend, window.log_mel)[0])


def test_each_window_is_back_before_the_next_is_begun(
    kind: Kind, backend: EncoderBackend, log_mels: list[FloatArray]
) -> None:
    windows = [Arrays(trim(log_mel, 400), np.full((200, D_MODEL), np.nan, np.float32)) for log_mel in log_mels[:6]]
    arrivals = iter(windows)
    begun: list[Arrays] = []

    def waiting() -> Arrays | None:
        if (window := next(arrivals, None)) is not None:
            begun.append(window)
        return window

    done = 0
    for _ in backend.encode_each(waiting, 8):
        assert len(begun) - done <= kind.threads, "no window waits for its neighbours"
        done += 1
    assert done == len(windows)


def test_a_window_that_does_not_fit_comes_back_with_the_error(backend: EncoderBackend) -> None:
    arrivals = iter([Arrays(zeros(80, 401), zeros(200, D_MODEL))])
    ((_, outcome),) = backend.encode_each(lambda: next(arrivals, None), 2)
    assert isinstance(outcome, InvalidWindowError)


def test_concurrent_calls(backend: EncoderBackend, log_mels: list[FloatArray]) -> None:
    windows = [trim(log_mel, 400) for log_mel in log_mels]
    alone = [encode(backend, window)[0] for window in windows]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda window: encode(backend, window)[0], windows))

    np.testing.assert_array_equal(together, alone)


def test_writes_only_its_states_and_keeps_no_reference(backend: EncoderBackend, log_mels: list[FloatArray]) -> None:
    window = trim(log_mels[0], 400)
    slab = mmap.mmap(-1, 1 << 20)
    slots = np.frombuffer(slab, np.float32)
    slots[:] = 7.0
    states = slots[64 : 64 + 200 * D_MODEL].reshape(200, D_MODEL)

    backend.encode([window], [states])

    np.testing.assert_array_equal(states, encode(backend, window)[0])
    assert np.all(slots[:64] == 7.0)
    assert np.all(slots[64 + states.size :] == 7.0)
    del slots, states
    slab.close()  # BufferError while anyone still refers to the memory


def test_read_only_log_mel(backend: EncoderBackend, log_mels: list[FloatArray]) -> None:
    window = trim(log_mels[0], 300)
    frozen = window.copy()
    frozen.flags.writeable = False

    np.testing.assert_array_equal(encode(backend, frozen)[0], encode(backend, window)[0])


def test_releases_the_gil(backend: EncoderBackend, log_mels: list[FloatArray]) -> None:
    windows = log_mels[:2]
    encode(backend, windows[0])
    worker = threading.Thread(target=encode, args=(backend, *windows))
    worker.start()
    ticks = 0
    while worker.is_alive():
        time.sleep(0.001)
        ticks += 1
    assert ticks > 4 * len(windows), "other threads stood still while windows of 30 s were encoded"


def zeros(*shape: int) -> FloatArray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("log_mel", "states", "message"),
    [
        pytest.param(zeros(128, 400), zeros(200, 192), r"log_mels\[1\] is float32 \(128, 400\)", id="mel bins"),
        pytest.param(zeros(400), zeros(200, 192), r"log_mels\[1\] is float32 \(400,\)", id="rank"),
        pytest.param(np.zeros((80, 400)), zeros(200, 192), r"log_mels\[1\] is float64", id="dtype"),
        pytest.param(zeros(80, 401), zeros(200, 192), "401 frames", id="odd"),
        pytest.param(zeros(80, 0), zeros(0, 192), "0 frames", id="no frames"),
        pytest.param(zeros(80, 3002), zeros(1501, 192), "3002 frames", id="too long"),
        pytest.param(zeros(80, 500)[:, :400], zeros(200, 192), r"log_mels\[1\] is not C-cont", id="strided log-mel"),
        pytest.param(zeros(80, 400), zeros(400, 192), r"states\[1\] is float32 \(400, 192\)", id="states"),
        pytest.param(zeros(80, 400), np.zeros((200, 192)), r"states\[1\] is float64", id="states' dtype"),
        pytest.param(zeros(80, 400), zeros(192, 200).T, r"states\[1\] is not C-cont", id="strided states"),
        pytest.param(zeros(80, 400), np.broadcast_to(zeros(1), (200, 192)), r"states\[1\]", id="broadcast states"),
        pytest.param(
            zeros(80, 400),
            np.frombuffer(bytes(153_600), np.float32).reshape(200, 192),
            "read-only",
            id="read-only states",
        ),
    ],
)
def test_arrays_that_do_not_fit(backend: EncoderBackend, log_mel: FloatArray, states: FloatArray, message: str) -> None:
    untouched = zeros(200, 192)
    with pytest.raises(InvalidWindowError, match=message):
        backend.encode([zeros(80, 400), log_mel], [untouched, states])
    assert not untouched.any()


def test_a_log_mel_without_states(backend: EncoderBackend) -> None:
    with pytest.raises(InvalidWindowError, match="2 log-mels but 1 "):
        backend.encode([zeros(80, 400)] * 2, [zeros(200, 192)])


def test_an_empty_batch_is_no_work(backend: EncoderBackend) -> None:
    backend.encode([], [])


def test_warm_up_takes_only_lengths_the_model_takes(backend: EncoderBackend) -> None:
    backend.warm_up([320, 400])
    with pytest.raises(InvalidWindowError, match="333 frames"):
        backend.warm_up([333])


@pytest.mark.parametrize(
    ("backend_name", "precision", "device"),
    [
        ("openvino", "f32", "cpu:openvino-f32"),
        ("ctranslate2", "float32", "cpu:ctranslate2-float32"),
        ("ctranslate2", "int8", "cpu:ctranslate2-int8_float32"),
        ("onnxruntime", "f32", "cpu:onnxruntime-f32"),
    ],
)
def test_device_names_what_computes(backend_name: BackendName, precision: str, device: str) -> None:
    backend = load_backend(DEMO_MODEL, backend=backend_name, precision=precision)
    assert backend.device == device
    assert backend.dimensions.n_audio_ctx == 1500


def test_auto_precision_is_bf16_where_the_cpu_has_it() -> None:
    has_bf16 = "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    backend = load_backend(DEMO_MODEL, backend="openvino")
    assert backend.device == f"cpu:openvino-{'bf16' if has_bf16 else 'f32'}"


@pytest.mark.parametrize("backend_name", ["openvino", "ctranslate2", "onnxruntime"])
def test_unknown_precision(backend_name: BackendName) -> None:
    with pytest.raises(UnsupportedPrecisionError, match="int3"):
        load_backend(DEMO_MODEL, backend=backend_name, precision="int3")


def test_a_gpu_that_is_not_there_is_no_cpu() -> None:
    with pytest.raises(ProviderError, match="finds no GPU"):
        load_backend(DEMO_MODEL, backend="ctranslate2", ctranslate2_device="cuda")


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has imported after ``statement``."""
    script = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True).split())


def test_knows_nothing_of_the_service() -> None:
    files = [path.relative_to(ROOT) for path in (ROOT / "npu_encoder").rglob("*.py") if path.stem != "__init__"]
    modules = [".".join(path.with_suffix("").parts) for path in files]
    assert modules_after(f"import {', '.join(modules)}").isdisjoint({"deployments", "ray", "starlette"})


def test_imports_only_the_runtime_it_loads() -> None:
    load = f"from pathlib import Path; from npu_encoder.loading import load_backend; load_backend(Path('{DEMO_MODEL}')"
    assert "ctranslate2" not in modules_after(f"{load}, backend='openvino')")
    assert "openvino" not in modules_after(f"{load}, backend='ctranslate2')")
    assert {"openvino", "ctranslate2"}.isdisjoint(modules_after(f"{load}, backend='onnxruntime')"))
