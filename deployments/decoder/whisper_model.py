"""CTranslate2's Whisper, fed with encoder states that were computed elsewhere: its encoder never runs."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from deployments.decoder.batcher import LANES
from deployments.decoder.steps import MAX_POSITIONS, Generate, States
from deployments.shared.errors import ConfigurationError
from npu_encoder.cpu.ctranslate2 import NO_GPU, CTranslate2Device, has_device

SAMPLES: Final = 5
"""Texts drawn at a temperature above 0, of which the likeliest is kept (``best_of`` of openai/whisper)."""

SMALLEST_PROBABILITY: Final = 1e-9


class WhisperModel:
    """A loaded model. Thread-safe: it computes outside the GIL, one call in each of the batches' lanes.

    Attributes:
        whisper: ``ctranslate2.models.Whisper``, which is not typed.
        device: what computes, for example ``cpu:ctranslate2-int8_float32``.
    """

    def __init__(self, model_dir: Path, device: CTranslate2Device, compute_type: str, threads: int) -> None:
        """Load a CTranslate2 Whisper directory; arguments as those of ``TextGenerator``.

        Raises:
            ConfigurationError: the directory holds no such model, there is no such device, or it does not support the
                compute type.
        """
        self._loaded = model_dir, device, compute_type, threads
        self._seeding = threading.Lock()
        self.whisper = _load(*self._loaded)
        self.device = f"{device}:ctranslate2-{self.whisper.compute_type}"

    @property
    def multilingual(self) -> bool:
        """Whether the model knows other languages than English."""
        return bool(self.whisper.is_multilingual)

    def check_states(self, states: States) -> None:
        """Refuse states that CTranslate2 would encode again: it tells them from a log-mel by their length alone.

        Raises:
            ValueError: the states are not ``[frames, d_model]``, or have as many frames as a log-mel has bins.
        """
        frames, _ = states.shape
        if frames == self.whisper.n_mels:
            raise ValueError(f"Encoder states of {frames} frames would be taken for a log-mel of {frames} bins")

    def detect(self, states: Iterable[States]) -> list[list[tuple[str, float]]]:
        """Return for each window its language tokens and their probabilities, the likeliest first."""
        rankings: list[list[tuple[str, float]]] = self.whisper.detect_language(_storage(states))
        return rankings

    def generate(
        self, step: Generate, states: Sequence[States], prompts: list[list[int]], suppressed: list[int]
    ) -> list[Any]:
        """Return for each window CTranslate2's ``WhisperGenerationResult`` with scores.

        Args:
            step: what the windows have in common.
            states: encoder states, one array per window.
            prompts: token ids that the texts begin with, one list per window.
            suppressed: token ids that are never generated; -1 stands for the model's own list.
        """
        with self._for(step, states) as whisper:
            results: list[Any] = whisper.generate(
                _storage(states),
                prompts,
                max_length=_max_length(step),
                suppress_blank=True,
                suppress_tokens=suppressed,
                return_scores=True,
                return_no_speech_prob=True,
                return_logits_vocab=step.logits,
                **_search_options(step),
            )
        return results

    def log_probability(self, states: States, start: Sequence[int], tokens: Sequence[int]) -> float:
        """Return the mean natural logarithm of the probabilities of ``tokens``, each after those before it."""
        storage = _storage([states])
        (result,) = self.whisper.align(storage, list(start), [list(tokens)], 2 * len(states))
        probabilities = np.maximum(np.array(result.text_token_probs), SMALLEST_PROBABILITY)
        return float(np.log(probabilities).mean())

    @staticmethod
    def logprobs(result: Any) -> tuple[float, ...]:
        """Return the natural logarithm of the probability of each token of the first text; the result has logits."""
        return tuple(
            _logprob(np.asarray(logits).reshape(-1), token)
            for logits, token in zip(result.logits[0], result.sequences_ids[0], strict=False)
        )

    @contextmanager
    def _for(self, step: Generate, states: Sequence[States]) -> Iterator[Any]:
        """Give the model, or one that is loaded anew where random numbers must depend on nothing but the states.

        CTranslate2 draws them from a generator of the model's own thread, which is seeded once, at its first draw, from
        the process's seed: one such model at a time.
        """
        if step.alone is None:
            yield self.whisper
            return
        with self._seeding:
            ctranslate2.set_random_seed(zlib.crc32(b"".join(each.tobytes() for each in states)))
            yield _load(*self._loaded)


def _load(model_dir: Path, device: CTranslate2Device, compute_type: str, threads: int) -> Any:
    if not (model_dir / "model.bin").is_file():
        raise ConfigurationError(
            f"There is no CTranslate2 Whisper model in {model_dir}; put model.bin and its files there"
        )
    if not has_device(device):
        raise ConfigurationError(NO_GPU)
    try:
        return ctranslate2.models.Whisper(
            str(model_dir), device=device, compute_type=compute_type, inter_threads=LANES, intra_threads=threads
        )
    except (RuntimeError, ValueError) as error:
        supported = ", ".join(sorted(ctranslate2.get_supported_compute_types(device)))
        raise ConfigurationError(
            f"Cannot load {model_dir} as a CTranslate2 Whisper model with compute type '{compute_type}' "
            f"(this {device.upper()} supports {supported}): {error}"
        ) from error


def _storage(states: Iterable[States]) -> Any:
    """Copy states into one contiguous, writable ``[batch, frames, d_model]`` array: CTranslate2 accepts no other."""
    return ctranslate2.StorageView.from_array(np.stack(list(states), dtype=np.float32))


def _search_options(step: Generate) -> dict[str, Any]:
    if step.temperature == 0:
        return {"beam_size": step.beam_size, "no_repeat_ngram_size": step.no_repeat_ngram_size}
    return {
        "beam_size": 1,
        "num_hypotheses": SAMPLES,
        "sampling_topk": 0,
        "sampling_temperature": step.temperature,
    }


def _logprob(logits: NDArray[np.float32], token: int) -> float:
    most = logits.max()
    return float(logits[token] - most - np.log(np.exp(logits - most).sum()))


def _max_length(step: Generate) -> int:
    """Return CTranslate2's ``max_length`` that allows ``step.max_new_tokens``.

    It generates at most ``min(max_length / 2, max_length - start)`` tokens; all prompt tokens but the last come
    before ``start``.
    """
    start = step.prompt_tokens - 1
    return min(MAX_POSITIONS, max(2 * step.max_new_tokens, start + step.max_new_tokens))
