"""The encoder around a device: against CTranslate2 in float32 on real speech, and how it interleaves windows."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import jiwer
import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from deployments.decoder.generation import TextGenerator
from deployments.decoder.steps import DecodeItem
from deployments.shared.contracts import DecodeOptions, Window
from loadtests.benchmarks.parts.words import words
from npu_encoder.errors import DeviceTimeoutError
from npu_encoder.loading import load_backend
from npu_encoder.npu.audio_encoder import PLANS, AudioEncoder, PlanName
from npu_encoder.npu.gemm import GemmExecutor, GemmWeight, NumpyGemm, PendingGemm
from npu_encoder.weights import EncoderWeights, read_weights
from tests.support.spoken_clips import DEMO_MODEL, Clip, load_clips

D_MODEL = 192
FloatArray = NDArray[np.float32]
Product = NDArray[np.int32] | NDArray[np.float32]


@dataclass(frozen=True)
class Gate:
    """The distance from float32 that a plan may have, on any CPU.

    Attributes:
        window_cosine: the smallest cosine of a whole window.
        token_cosine: the smallest cosine of a single token.
        worse_words: words that may be wrong beyond those wrong in float32, of the clips' 197 at each of three
            positions. A doubtful word turns with noise that changes nothing else, also in float32, so more words
            say more; two of 591 are within what the CPU's own arithmetic turns.
    """

    window_cosine: float
    token_cosine: float
    worse_words: int


GATES: dict[PlanName, Gate] = {
    "int8": Gate(0.9995, 0.997, worse_words=2),
    "int8-bf16-fc2": Gate(0.9997, 0.997, worse_words=2),
    # What the design asks of a token. CPUs differ in how they sum products of bf16: AMX reaches 0.9999, AVX-512 0.9995.
    "bf16": Gate(0.9999, 0.999, worse_words=2),
}


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return load_clips()


@pytest.fixture(scope="module")
def log_mels(clips: list[Clip]) -> list[FloatArray]:
    """The log-mel of each clip, padded with silence to 30 s and cut to a multiple of 4 s."""
    return begin_at(clips, 0)


@pytest.fixture(scope="module")
def later_log_mels(clips: list[Clip]) -> list[FloatArray]:
    """The log-mels of the same clips, which begin 2 and 5 ms later."""
    return begin_at(clips, 37) + begin_at(clips, 74)


@pytest.fixture(scope="module")
def expected(log_mels: list[FloatArray]) -> list[FloatArray]:
    states = empty_states(log_mels)
    load_backend(DEMO_MODEL, backend="ctranslate2", precision="float32").encode(log_mels, states)
    return states


@pytest.fixture(scope="module")
def weights() -> EncoderWeights:
    return read_weights(DEMO_MODEL)


@pytest.fixture(scope="module", params=PLANS)
def plan(request: pytest.FixtureRequest) -> PlanName:
    name: PlanName = request.param
    return name


@pytest.fixture(scope="module")
def states(plan: PlanName, weights: EncoderWeights, log_mels: list[FloatArray]) -> list[FloatArray]:
    """The states of all clips, encoded in one batch."""
    return encode(AudioEncoder(weights, NumpyGemm(), PLANS[plan]), *log_mels)


def begin_at(clips: list[Clip], sample: int) -> list[FloatArray]:
    extract = FeatureExtractor()
    padded = [np.pad(clip.pcm / np.float32(32_768), (sample, 480_000 - sample - len(clip.pcm))) for clip in clips]
    frames = [400 * math.ceil(clip.duration_s / 4) for clip in clips]
    return [trim(extract(audio, padding=0), count) for audio, count in zip(padded, frames, strict=True)]


def trim(log_mel: FloatArray, frames: int) -> FloatArray:
    return np.ascontiguousarray(log_mel[:, :frames], np.float32)


def empty_states(log_mels: list[FloatArray]) -> list[FloatArray]:
    return [np.full((log_mel.shape[1] // 2, D_MODEL), np.nan, np.float32) for log_mel in log_mels]


def encode(encoder: AudioEncoder, *log_mels: FloatArray) -> list[FloatArray]:
    states = empty_states(list(log_mels))
    encoder.encode(log_mels, states)
    return states


def cosine(a: FloatArray, b: FloatArray) -> NDArray[np.float64]:
    """Return the cosine of each pair of rows."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    cosines: NDArray[np.float64] = np.vecdot(x, y) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)
    return cosines


def wrong_words(clips: list[Clip], states: list[FloatArray]) -> int:
    """Count the word errors in the texts of these states."""
    items = [
        DecodeItem(window_states, Window(0, 0.0, clip.duration_s), DecodeOptions())
        for clip, window_states in zip(clips, states, strict=True)
    ]
    texts = [words(transcript.text) for transcript in TextGenerator(DEMO_MODEL).generate(items)]
    result = jiwer.process_words([words(clip.spoken) for clip in clips], texts)
    return int(result.substitutions + result.deletions + result.insertions)


def test_states_agree_with_float32(plan: PlanName, states: list[FloatArray], expected: list[FloatArray]) -> None:
    pairs = list(zip(states, expected, strict=True))

    assert min(float(cosine(a.ravel(), b.ravel())) for a, b in pairs) > GATES[plan].window_cosine
    assert min(float(cosine(a, b).min()) for a, b in pairs) > GATES[plan].token_cosine


def test_a_full_window_agrees_with_float32(weights: EncoderWeights, clips: list[Clip]) -> None:
    pcm = clips[-1].pcm / np.float32(32_768)
    log_mel = trim(FeatureExtractor()(np.pad(pcm, (0, 480_000 - len(pcm))), padding=0), 3000)
    (states,) = encode(AudioEncoder(weights, NumpyGemm(), PLANS["int8"]), log_mel)
    reference = empty_states([log_mel])
    load_backend(DEMO_MODEL, backend="ctranslate2", precision="float32").encode([log_mel], reference)

    assert float(cosine(states.ravel(), reference[0].ravel())) > GATES["int8"].window_cosine
    assert float(cosine(states, reference[0]).min()) > GATES["int8"].token_cosine


@pytest.fixture(scope="module")
def wrong_in_float32(clips: list[Clip], expected: list[FloatArray], later_log_mels: list[FloatArray]) -> int:
    later = empty_states(later_log_mels)
    load_backend(DEMO_MODEL, backend="ctranslate2", precision="float32").encode(later_log_mels, later)
    return wrong_words(clips * 3, expected + later)


def test_transcripts_are_as_good_as_with_float32(
    plan: PlanName,
    weights: EncoderWeights,
    clips: list[Clip],
    states: list[FloatArray],
    later_log_mels: list[FloatArray],
    wrong_in_float32: int,
) -> None:
    later = encode(AudioEncoder(weights, NumpyGemm(), PLANS[plan]), *later_log_mels)

    assert wrong_words(clips * 3, states + later) - wrong_in_float32 <= GATES[plan].worse_words


def test_a_window_never_depends_on_its_batch(
    plan: PlanName, weights: EncoderWeights, log_mels: list[FloatArray], states: list[FloatArray]
) -> None:
    encoder = AudioEncoder(weights, NumpyGemm(), PLANS[plan])
    for index in (0, 5, 11):
        np.testing.assert_array_equal(encode(encoder, log_mels[index])[0], states[index])


@pytest.mark.parametrize("name", ["int8", "bf16"])
def test_a_broken_window_stays_visible_and_alone(name: PlanName, weights: EncoderWeights) -> None:
    encoder = AudioEncoder(weights, NumpyGemm(), PLANS[name])
    sound, broken = np.zeros((2, 80, 400), np.float32)
    broken[7, 100] = np.nan
    states = encode(encoder, broken, sound)

    assert np.all(np.isnan(states[0][50]))
    assert np.all(np.isfinite(states[1]))


def test_a_cpu_without_bf16_encodes_in_float32(weights: EncoderWeights, log_mels: list[FloatArray]) -> None:
    encoder = AudioEncoder(weights, NumpyGemm(), PLANS["bf16"], host_precision="f32")
    (states,) = encode(encoder, log_mels[0])
    reference = empty_states(log_mels[:1])
    load_backend(DEMO_MODEL, backend="ctranslate2", precision="float32").encode(log_mels[:1], reference)

    assert float(cosine(states.ravel(), reference[0].ravel())) > 0.99999


@dataclass
class ScriptedGemm:
    """A device whose products need time: ``is_done`` says when, by the number of the product and of the question."""

    is_done: Callable[[int, int], bool]
    fails_at: int = -1
    inner: NumpyGemm = field(default_factory=NumpyGemm)
    started: int = 0
    in_flight: int = 0
    most_in_flight: int = 0

    @property
    def device(self) -> str:
        return "scripted"

    def load(self, weight: GemmWeight) -> None:
        self.inner.load(weight)

    def start(self, name: str, x: NDArray[np.int8] | NDArray[np.uint16]) -> PendingGemm:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        pending = ScriptedProduct(self, self.started, self.inner.start(name, x.copy()).result())
        self.started += 1
        return pending

    def close(self) -> None:
        self.inner.close()


@dataclass
class ScriptedProduct:
    device: ScriptedGemm
    number: int
    product: Product
    asked: int = 0
    array: str = "scripted"

    def done(self) -> bool:
        self.asked += 1
        return self.device.is_done(self.number, self.asked)

    def result(self) -> Product:
        self.device.in_flight -= 1
        if self.number == self.device.fails_at:
            raise DeviceTimeoutError("scripted")
        self.product.flags.writeable = False
        return self.product


def run(executor: GemmExecutor, weights: EncoderWeights, *log_mels: FloatArray) -> list[FloatArray]:
    return encode(AudioEncoder(weights, executor, PLANS["int8"]), *log_mels)


@pytest.fixture(scope="module")
def alone(weights: EncoderWeights, log_mels: list[FloatArray]) -> list[FloatArray]:
    """The states of six windows, each encoded alone."""
    return [run(NumpyGemm(), weights, window)[0] for window in log_mels[:6]]


@pytest.mark.parametrize(
    "is_done",
    [
        pytest.param(lambda _number, _asked: False, id="never before it is waited for"),
        pytest.param(lambda _number, _asked: True, id="at once"),
        pytest.param(lambda number, _asked: number % 2 == 1, id="out of order"),
        pytest.param(lambda number, asked: asked > number % 5, id="later or sooner"),
    ],
)
def test_the_order_of_the_device_changes_nothing(
    is_done: Callable[[int, int], bool], weights: EncoderWeights, log_mels: list[FloatArray], alone: list[FloatArray]
) -> None:
    windows = log_mels[:6]
    device = ScriptedGemm(is_done)

    for actual, single in zip(run(device, weights, *windows), alone, strict=True):
        np.testing.assert_array_equal(actual, single)
    assert device.started == len(windows) * 4 * weights.dimensions.n_layers
    assert device.most_in_flight == 4


def test_batches_in_several_threads_do_not_touch_each_other(
    weights: EncoderWeights, log_mels: list[FloatArray], states: list[FloatArray], plan: PlanName
) -> None:
    encoder = AudioEncoder(weights, NumpyGemm(), PLANS[plan])
    with ThreadPoolExecutor(4) as threads:
        batches = list(threads.map(lambda window: encode(encoder, window)[0], log_mels[:8]))

    for actual, expected in zip(batches, states[:8], strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_the_host_works_while_the_device_multiplies(weights: EncoderWeights, log_mels: list[FloatArray]) -> None:
    device = ScriptedGemm(lambda _number, _asked: False)
    run(device, weights, *log_mels[:2])
    assert device.most_in_flight == 2


def test_a_failed_product_ends_the_batch(weights: EncoderWeights, log_mels: list[FloatArray]) -> None:
    device = ScriptedGemm(lambda _number, _asked: True, fails_at=7)
    with pytest.raises(DeviceTimeoutError):
        run(device, weights, *log_mels[:3])


def test_an_empty_batch_is_no_work(weights: EncoderWeights) -> None:
    device = ScriptedGemm(lambda _number, _asked: True)
    run(device, weights)
    assert device.started == 0
