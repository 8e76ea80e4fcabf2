"""Write the directory that OpenVINO GenAI's ``WhisperPipeline`` is given, from a CTranslate2 Whisper directory.

The encoder is the service's own graph, with weights in float16, which a CPU with bfloat16 computes in that; the
decoder's weights are in int8. Tokenizer and rules for tokens come from the model's own files.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import openvino as ov
from openvino import opset15 as op

from loadtests.benchmarks.parts.openvino_genai.decoder_graph import build_decoder
from npu_encoder.graphs.audio_encoder import build_encoder
from npu_encoder.graphs.layers import integers
from npu_encoder.model_file import ModelFile
from npu_encoder.weights import MODEL_FILE, EncoderDimensions, read_weights

GENAI_NAMES = ("input_features", "last_hidden_state")
"""The encoder's input and output."""
CHUNK_S, SAMPLE_RATE, HOP_LENGTH, N_FFT = 30, 16_000, 160, 400
MAX_INITIAL_TIMESTAMP_INDEX = 50


def convert(model_dir: Path, output: Path) -> None:
    """Write ``model_dir``'s model into the directory ``output``.

    Raises:
        ModelFormatError: the directory holds no readable Whisper model.
    """
    weights = read_weights(model_dir)
    encoder = with_batch(build_encoder(weights, weights.dimensions.max_frames))
    ov.save_model(encoder, output / "openvino_encoder_model.xml")
    with ModelFile(model_dir / MODEL_FILE) as model:
        ov.save_model(build_decoder(model), output / "openvino_decoder_model.xml")
        max_length = model.shape("decoder/position_encodings/encodings")[0]
    _write_tokenizer(model_dir, output)
    _write(output / "config.json", {"model_type": "whisper", "max_source_positions": weights.dimensions.n_audio_ctx})
    _write(output / "preprocessor_config.json", preprocessor(weights.dimensions))
    _write(output / "generation_config.json", {**generation(model_dir), "max_length": max_length})


def with_batch(graph: ov.Model) -> ov.Model:
    """Give the service's encoder GenAI's names, and the axis of the batch, which GenAI must be able to set to 0."""
    (inner,), (outer,) = graph.get_parameters(), graph.get_results()
    shape, (features_name, states_name) = inner.get_output_shape(0), GENAI_NAMES
    features = op.parameter(ov.PartialShape([-1, *shape]), ov.Type.f32, name=features_name)
    inner.output(0).replace(op.reshape(features, integers(*shape), special_zero=False).output(0))
    states = op.result(op.unsqueeze(outer.input_value(0), integers(0)))
    features.get_output_tensor(0).set_names({features_name})
    states.get_output_tensor(0).set_names({states_name})
    return ov.Model([states], [features], graph.get_name())


def preprocessor(dimensions: EncoderDimensions) -> dict[str, int]:
    """Return how the log-mel is made, in the names of Hugging Face's feature extractor."""
    return {
        "feature_size": dimensions.n_mels,
        "sampling_rate": SAMPLE_RATE,
        "hop_length": HOP_LENGTH,
        "n_fft": N_FFT,
        "chunk_length": CHUNK_S,
        "n_samples": CHUNK_S * SAMPLE_RATE,
        "nb_max_frames": dimensions.max_frames,
    }


def generation(model_dir: Path) -> dict[str, Any]:
    """Return the rules for tokens, in the names of Hugging Face's ``generation_config.json``."""
    settings = _read(model_dir / "config.json")
    added = {token["content"]: token["id"] for token in _read(model_dir / "tokenizer.json")["added_tokens"]}
    languages = {text: number for text, number in added.items() if number in set(settings["lang_ids"])}
    return {
        "decoder_start_token_id": added["<|startoftranscript|>"],
        "eos_token_id": added["<|endoftext|>"],
        "pad_token_id": added["<|endoftext|>"],
        "prev_sot_token_id": added["<|startofprev|>"],
        "no_timestamps_token_id": added["<|notimestamps|>"],
        "task_to_id": {task: added[f"<|{task}|>"] for task in ("transcribe", "translate")},
        "max_initial_timestamp_index": MAX_INITIAL_TIMESTAMP_INDEX,
        "suppress_tokens": settings["suppress_ids"],
        "begin_suppress_tokens": settings["suppress_ids_begin"],
        "is_multilingual": bool(languages),
        "lang_to_id": languages,
    }


def _write_tokenizer(model_dir: Path, output: Path) -> None:
    # They take seconds to import, and are needed for this peer only.
    from openvino_tokenizers import convert_tokenizer  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(model_dir / "tokenizer.json"))
    there, back = convert_tokenizer(tokenizer, with_detokenizer=True, skip_special_tokens=True)
    ov.save_model(there, output / "openvino_tokenizer.xml")
    ov.save_model(back, output / "openvino_detokenizer.xml")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="a CTranslate2 Whisper directory")
    parser.add_argument("output", type=Path, help="directory to write into")
    options = parser.parse_args()
    convert(options.model, options.output)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main()
