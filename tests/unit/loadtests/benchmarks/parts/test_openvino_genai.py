"""The demo model as OpenVINO GenAI drives it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from loadtests.benchmarks.parts.openvino_genai.convert import GENAI_NAMES, generation, preprocessor, with_batch
from loadtests.benchmarks.parts.openvino_genai.decoder_graph import build_decoder
from npu_encoder.graphs.audio_encoder import build_encoder
from npu_encoder.model_file import ModelFile
from npu_encoder.weights import read_weights
from tests.support.paths import DEMO_MODEL
from tests.support.spoken_clips import encode, load_clips

PROMPT = ("<|startoftranscript|>", "<|notimestamps|>")
D_MODEL, VOCABULARY = 192, 2534
States = NDArray[np.float32]


class Decoder:
    """The graph, with the bookkeeping of GenAI: which positions the next tokens have."""

    def __init__(self) -> None:
        with ModelFile(DEMO_MODEL / "model.bin") as model:
            self.graph = build_decoder(model)
        settings = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "INFERENCE_NUM_THREADS": 1}
        self._request = ov.Core().compile_model(self.graph, "CPU", settings).create_infer_request()
        self._position = 0

    def reset(self) -> None:
        self._request.reset_state()
        self._position = 0

    def step(self, tokens: list[int], states: States) -> States:
        """Return the logits of each token, ``[S, vocabulary]``."""
        positions = np.arange(self._position, self._position + len(tokens))
        self._position += len(tokens)
        inputs: dict[str, NDArray[Any]] = {
            "input_ids": np.array([tokens]),
            "encoder_hidden_states": states,
            "beam_idx": np.zeros(1, np.int32),
            "cache_position": positions,
        }
        self._request.infer(inputs)
        return np.array(self._request.get_tensor("logits").data[0])


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder()


@pytest.fixture(scope="module")
def states() -> States:
    return encode(load_clips()[:1])[0][np.newaxis]


@pytest.fixture
def prompt() -> list[int]:
    tokenizer = Tokenizer.from_file(str(DEMO_MODEL / "tokenizer.json"))
    return [tokenizer.token_to_id(token) for token in PROMPT]


def test_the_graphs_have_the_inputs_and_outputs_that_genai_names(decoder: Decoder) -> None:
    shapes = {port.any_name: str(port.partial_shape) for port in (*decoder.graph.inputs, *decoder.graph.outputs)}
    assert shapes == {
        "input_ids": "[?,?]",
        "encoder_hidden_states": f"[?,?,{D_MODEL}]",
        "beam_idx": "[?]",
        "cache_position": "[?]",
        "logits": f"[?,?,{VOCABULARY}]",
    }
    assert len(decoder.graph.get_sinks()) == len(decoder.graph.get_variables()) == 4 * 3
    encoder = with_batch(build_encoder(read_weights(DEMO_MODEL), 3000))
    shapes = {port.any_name: str(port.partial_shape) for port in (*encoder.inputs, *encoder.outputs)}
    assert shapes == dict(zip(GENAI_NAMES, ("[?,80,3000]", f"[1,1500,{D_MODEL}]"), strict=True))


def test_the_axis_of_the_batch_changes_nothing_of_the_states() -> None:
    weights, core = read_weights(DEMO_MODEL), ov.Core()
    log_mel = np.random.default_rng(0).uniform(-1, 1, (80, 40)).astype(np.float32)
    one = core.compile_model(build_encoder(weights, 40), "CPU")(log_mel)[0]
    batch = core.compile_model(with_batch(build_encoder(weights, 40)), "CPU")(log_mel[np.newaxis])[0]
    np.testing.assert_array_equal(batch[0], one)


def test_matrices_are_kept_in_int8(decoder: Decoder) -> None:
    constants = [op for op in decoder.graph.get_ops() if op.get_type_name() == "Constant"]
    large = {op.get_element_type() for op in constants if len(op.shape) > 1 and min(op.shape) > 1 and op.shape[0] > 448}
    assert large == {ov.Type.i8}


def test_greedy_search_finds_the_tokens_that_ctranslate2_finds(
    decoder: Decoder, states: States, prompt: list[int]
) -> None:
    whisper: Any = ctranslate2.models.Whisper(str(DEMO_MODEL), compute_type="float32", intra_threads=1)
    view = ctranslate2.StorageView.from_array(states)
    (expected,) = whisper.generate(view, [prompt], beam_size=1)[0].sequences_ids
    decoder.reset()
    found: list[int] = []
    tokens = prompt
    for _ in expected:
        tokens = [int(decoder.step(tokens, states)[-1].argmax())]
        found += tokens
    assert len(found) > 5
    assert found == expected


def test_a_reset_forgets_tokens_and_audio(decoder: Decoder, states: States, prompt: list[int]) -> None:
    decoder.reset()
    first = decoder.step(prompt, states)
    decoder.step([100], states)
    decoder.reset()
    np.testing.assert_array_equal(decoder.step(prompt, states), first)
    decoder.reset()
    assert np.abs(decoder.step(prompt, -states) - first).max() > 0.1


def test_a_step_at_a_time_is_all_at_once(decoder: Decoder, states: States, prompt: list[int]) -> None:
    tokens = [*prompt, 100, 200, 300]
    decoder.reset()
    at_once = decoder.step(tokens, states)
    decoder.reset()
    steps = [decoder.step([token], states)[0] for token in tokens]
    np.testing.assert_allclose(np.array(steps), at_once, atol=1e-2)


def test_the_rules_for_tokens_are_the_model_s_own(tmp_path: Path) -> None:
    rules = generation(DEMO_MODEL)
    assert (rules["decoder_start_token_id"], rules["eos_token_id"], rules["is_multilingual"]) == (1025, 1024, False)
    tokens = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"]
    tokens += ["<|startofprev|>", "<|notimestamps|>"]
    added = [{"content": token, "id": number} for number, token in enumerate(tokens)]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added}), encoding="utf-8")
    settings = {"lang_ids": [2, 3], "suppress_ids": [7], "suppress_ids_begin": [0]}
    (tmp_path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    rules = generation(tmp_path)
    assert rules["lang_to_id"] == {"<|en|>": 2, "<|de|>": 3}
    assert rules["task_to_id"] == {"transcribe": 5, "translate": 4}
    assert (rules["is_multilingual"], rules["suppress_tokens"], rules["begin_suppress_tokens"]) == (True, [7], [0])


def test_the_log_mel_is_whisper_s() -> None:
    found = preprocessor(read_weights(DEMO_MODEL).dimensions)
    asked = json.loads((DEMO_MODEL / "preprocessor_config.json").read_text(encoding="utf-8"))
    assert found == {name: asked[name] for name in found}
