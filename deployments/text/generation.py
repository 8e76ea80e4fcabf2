"""Encoder states in, transcripts out: CTranslate2's Whisper decoder over states computed elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from deployments.contracts import DecodeOptions, Transcript, Window, Word
from deployments.errors import ConfigurationError
from deployments.text.quality import Attempt, best_attempt
from deployments.text.vocabulary import Vocabulary
from deployments.text.word_times import word_times

_T = TypeVar("_T")
_Key = TypeVar("_Key", bound=Hashable)

MAX_POSITIONS: Final = 448
"""Positions of Whisper's decoder; a prompt and its text share them."""

SAMPLES: Final = 5
"""Texts drawn at a temperature above 0, of which the likeliest is kept (``best_of`` of openai/whisper)."""


@dataclass(frozen=True, slots=True)
class DecodeItem:
    """One window to decode.

    Attributes:
        states: encoder states ``[frames, d_model]``, one frame each 20 ms.
        window: where in the audio the states come from.
        options: what its request asked for.
    """

    states: NDArray[np.float16 | np.float32]
    window: Window
    options: DecodeOptions


@dataclass(frozen=True, slots=True)
class _Language:
    code: str
    probability: float


class _Call(NamedTuple):
    """What the windows of one ``Whisper.generate`` call have to share."""

    frames: int
    prompt_tokens: int
    max_new_tokens: int
    beam_size: int
    temperature: float


@dataclass(frozen=True, slots=True)
class _Job:
    """One item on its way to a transcript: it is attempted at one temperature after the other until a text is good."""

    item: DecodeItem
    language: _Language
    prompt: list[int]
    temperatures: tuple[float, ...]
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        if not self.attempts:
            return True
        return self.attempts[-1].needs_another and len(self.attempts) < len(self.temperatures)

    @property
    def call(self) -> _Call:
        """Of the next attempt."""
        return _Call(
            frames=len(self.item.states),
            prompt_tokens=len(self.prompt),
            max_new_tokens=max_new_tokens(self.item.window.duration_s),
            beam_size=self.item.options.beam_size,
            temperature=self.temperatures[len(self.attempts)],
        )


class TextGenerator:
    """Turns batches of encoder states into transcripts.

    Thread-safe; calls run one after the other on ``threads`` threads, outside the GIL.

    Attributes:
        multilingual: whether the model knows other languages than English, and can translate.
        languages: codes the model can be asked for.
        device: what computes, for example ``cpu:ctranslate2-int8_float32``.
    """

    def __init__(
        self,
        model_dir: Path,
        *,
        compute_type: str = "int8",
        threads: int = 1,
        fallback_temperatures: tuple[float, ...] = (),
    ) -> None:
        """Load a CTranslate2 Whisper directory.

        Args:
            model_dir: with ``model.bin`` and ``tokenizer.json``.
            compute_type: of CTranslate2. ``int8`` is the fastest; ``int16`` scales a batch as a whole, so that texts
                depend a little on their neighbours.
            threads: that one call computes on.
            fallback_temperatures: tried in turn where a text repeats itself or is improbable. Empty by
                default: sampled text differs from run to run, and every temperature draws ``SAMPLES`` more texts
                while the rest of the batch waits.

        Raises:
            ConfigurationError: no such model there, or the CPU does not support the compute type.
        """
        self._model = _load(model_dir, compute_type, threads)
        self._vocabulary = Vocabulary(model_dir, multilingual=self._model.is_multilingual)
        self._fallback_temperatures = fallback_temperatures
        self.multilingual = self._vocabulary.multilingual
        self.languages = self._vocabulary.languages
        self.device = f"cpu:ctranslate2-{self._model.compute_type}"

    def check(self, options: DecodeOptions) -> None:
        """Refuse options the model cannot honour; worth calling before a window joins the windows of others.

        Raises:
            UnsupportedLanguageError: the model does not know the language, or cannot translate.
        """
        self._vocabulary.check(options)

    def generate(self, items: Sequence[DecodeItem]) -> list[Transcript]:
        """The transcript of each window, in order.

        Greedy and beam text of a window does not depend on the windows beside it.

        Raises:
            UnsupportedLanguageError: as ``check``; no window is decoded then.
            ValueError: not ``[frames, d_model]``, or as many frames as a log-mel has bins.
        """
        for item in items:
            self.check(item.options)
            self._check_states(item.states)
        jobs = [self._job(item, language) for item, language in zip(items, self._languages_of(items), strict=True)]
        while pending := [job for job in jobs if job.is_open]:
            for call, group in _grouped(pending, lambda job: job.call).items():
                for job, attempt in zip(group, self._attempts(call, group), strict=True):
                    job.attempts.append(attempt)
        return [self._transcript(job) for job in jobs]

    def _check_states(self, states: NDArray[np.float16 | np.float32]) -> None:
        frames, _ = states.shape
        # CTranslate2 tells states from a log-mel by the length of this one axis, and would encode again.
        if frames == self._model.n_mels:
            raise ValueError(f"Encoder states of {frames} frames would be taken for a log-mel of {frames} bins.")

    def _languages_of(self, items: Sequence[DecodeItem]) -> list[_Language]:
        """Each item's language: as asked for, or as detected from its states."""
        found = {
            index: _Language(item.options.language or "en", 1.0)
            for index, item in enumerate(items)
            if item.options.language is not None or not self.multilingual
        }
        unknown = [index for index in range(len(items)) if index not in found]
        for group in _grouped(unknown, lambda index: len(items[index].states)).values():
            rankings = self._model.detect_language(_storage(items[index] for index in group))
            found.update(zip(group, map(self._likeliest, rankings), strict=True))
        return [found[index] for index in range(len(items))]

    def _likeliest(self, ranking: Iterable[tuple[str, float]]) -> _Language:
        # Some conversions list tokens that are no language among the languages.
        codes = ((token.removeprefix("<|").removesuffix("|>"), probability) for token, probability in ranking)
        return next(_Language(code, probability) for code, probability in codes if code in self.languages)

    def _job(self, item: DecodeItem, language: _Language) -> _Job:
        first = item.options.temperature
        temperatures = (first, *(higher for higher in self._fallback_temperatures if higher > first))
        return _Job(item, language, self._vocabulary.prompt(item.options, language.code), temperatures)

    def _attempts(self, call: _Call, jobs: Sequence[_Job]) -> list[Attempt]:
        if call.temperature > 0:
            search = {
                "beam_size": 1,
                "num_hypotheses": SAMPLES,
                "sampling_topk": 0,
                "sampling_temperature": call.temperature,
            }
        else:
            search = {"beam_size": call.beam_size}
        results = self._model.generate(
            _storage(job.item for job in jobs),
            [job.prompt for job in jobs],
            max_length=_max_length(call),
            suppress_blank=True,
            suppress_tokens=self._vocabulary.suppressed,
            return_scores=True,
            return_no_speech_prob=True,
            **search,
        )
        return [self._attempt(result, call.temperature) for result in results]

    def _attempt(self, result: Any, temperature: float) -> Attempt:
        generated = result.sequences_ids[0]
        tokens = self._vocabulary.text_tokens(generated)
        # The score is the mean without <|endoftext|>, whose own log probability it holds all the same.
        avg_logprob = result.scores[0] * len(generated) / (len(generated) + 1) if generated else 0.0
        return Attempt(self._vocabulary.text(tokens), tokens, avg_logprob, result.no_speech_prob, temperature)

    def _transcript(self, job: _Job) -> Transcript:
        attempt = best_attempt(job.attempts)
        spoken = bool(attempt.text) and not attempt.is_silence
        return Transcript(
            text=attempt.text if spoken else "",
            tokens=attempt.tokens if spoken else (),
            language=job.language.code,
            language_probability=job.language.probability,
            avg_logprob=attempt.avg_logprob,
            no_speech_prob=attempt.no_speech_prob,
            compression_ratio=attempt.compression_ratio,
            temperature=attempt.temperature,
            words=self._words(job, attempt.tokens) if spoken and job.item.options.word_times else (),
        )

    def _words(self, job: _Job, tokens: tuple[int, ...]) -> tuple[Word, ...]:
        tokenizer = self._vocabulary.tokenizer(job.language.code, job.item.options.task)
        return word_times(self._model, tokenizer, job.item.states, tokens, job.item.window)


def _load(model_dir: Path, compute_type: str, threads: int) -> Any:
    if not (model_dir / "model.bin").is_file():
        raise ConfigurationError(f"No CTranslate2 Whisper model in {model_dir}: put model.bin and its files there.")
    try:
        return ctranslate2.models.Whisper(
            str(model_dir), device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=threads
        )
    except (RuntimeError, ValueError) as error:
        supported = ", ".join(sorted(ctranslate2.get_supported_compute_types("cpu")))
        raise ConfigurationError(
            f"Cannot load {model_dir} as a CTranslate2 Whisper model with compute type '{compute_type}' "
            f"(this CPU supports {supported}): {error}"
        ) from error


def _storage(items: Iterable[DecodeItem]) -> Any:
    """One contiguous, writable ``[batch, frames, d_model]`` array, which is what CTranslate2 accepts."""
    return ctranslate2.StorageView.from_array(np.stack([item.states for item in items], dtype=np.float32))


def max_new_tokens(duration_s: float) -> int:
    """Tokens a window of this length may hold, so that endless repetition on noise ends early.

    English speech takes 4-8 tokens a second, scripts that the tokenizer hardly knows several times that; the bound
    is 112 up to 5 s, 192 up to 10 s and then Whisper's own 224. In steps, as windows of one call share the bound.
    """
    steps = max(1, math.ceil(duration_s / 5))
    return min(MAX_POSITIONS // 2, 32 + 80 * steps)


def _max_length(call: _Call) -> int:
    """CTranslate2's ``max_length`` that allows ``call.max_new_tokens``.

    It generates at most ``min(max_length / 2, max_length - start)`` tokens; all prompt tokens but the last come
    before ``start``.
    """
    start = call.prompt_tokens - 1
    return min(MAX_POSITIONS, max(2 * call.max_new_tokens, start + call.max_new_tokens))


def _grouped(values: Iterable[_T], key: Callable[[_T], _Key]) -> dict[_Key, list[_T]]:
    """The values of each key, keys in order of first appearance."""
    groups: dict[_Key, list[_T]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups
