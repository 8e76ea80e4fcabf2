"""Encoder states in, transcripts out: CTranslate2's Whisper decoder over states computed elsewhere.

A window takes several steps: its language is detected, its text searched for, perhaps in several ways, and aligned with
the audio. Steps of several windows that are alike (``Decoding.step``) are one call of the model, and no window waits
for steps that only others need.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from deployments.decoder.loops import until_first_pass
from deployments.decoder.quality import Attempt, best_attempt
from deployments.decoder.rests import may_end_early, rest_after_cut, rest_after_end, speech_s
from deployments.decoder.search import Search, ladder
from deployments.decoder.vocabulary import Vocabulary
from deployments.decoder.word_times import Span, is_spaced, timed_words, word_spans
from deployments.shared.contracts import DecodeOptions, Transcript, Window
from deployments.shared.errors import ConfigurationError

_T = TypeVar("_T")
_Key = TypeVar("_Key", bound=Hashable)

MAX_POSITIONS: Final = 448
"""Positions of Whisper's decoder; a prompt and its text share them."""

SAMPLES: Final = 5
"""Texts drawn at a temperature above 0, of which the likeliest is kept (``best_of`` of openai/whisper)."""

DETECTION_FRAMES: Final = 750
"""Encoder states that tell a language: 15 s. As accurate as 30 s (4 of 112 clips wrong) at 40% of the time."""

SURE_LANGUAGE: Final = 0.75
"""A language that is less likely is judged again by the whole window. If it still is, it competes with other likely
ones, and the likeliest text wins: wrong languages gave texts of -0.74 to -1.06 where the right one gave -0.10 to
-0.40."""

SHORT_SPEECH_S: Final = 2.0
DOUBTFUL_LANGUAGE: Final = 0.5
"""Of speech this short a text of a word or two proves little, so only what is less likely than that competes."""

LIKELY_LANGUAGE: Final = 0.05
CANDIDATES: Final = 4


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
class Language:
    """ISO code, and how likely it is; 1.0 where it was given."""

    code: str
    probability: float


class Detect(NamedTuple):
    """What the windows of one ``Whisper.detect_language`` call have to share."""

    frames: int


class Generate(NamedTuple):
    """What the windows of one ``Whisper.generate`` call have to share; ``alone`` tells apart those that share none."""

    frames: int
    prompt_tokens: int
    max_new_tokens: int
    beam_size: int
    no_repeat_ngram_size: int
    temperature: float
    alone: int | None


class Align(NamedTuple):
    """The alignment of one window, which is a call of its own."""

    alone: int


Step: TypeAlias = Detect | Generate | Align


@dataclass(slots=True, eq=False)
class Decoding:
    """One window on its way to a transcript.

    Attributes:
        languages: candidates, the likeliest first: one where it is sure, none until it is known.
        searches: still to be tried if no text is good, the next one first.
        prompt: token ids that the next search begins with.
        attempts: what was found.
        frames_heard: encoder states that the language is told by.
        chosen: the attempt that becomes the transcript, once the searches are over.
        transcript: None until the window is done.
    """

    item: DecodeItem
    languages: tuple[Language, ...] = ()
    frames_heard: int = DETECTION_FRAMES
    searches: tuple[Search, ...] = ()
    prompt: list[int] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    chosen: Attempt | None = None
    transcript: Transcript | None = None

    @property
    def language(self) -> Language | None:
        """The likeliest one; None until it is known."""
        return self.languages[0] if self.languages else None

    @property
    def step(self) -> Step:
        """The next step; equal ones can be one call."""
        frames = len(self.item.states)
        if self.language is None:
            return Detect(min(frames, self.frames_heard))
        if self.chosen is not None:
            return Align(id(self))
        search = self.searches[0]
        return Generate(
            frames=frames,
            prompt_tokens=len(self.prompt),
            max_new_tokens=max_new_tokens(self.item.window.duration_s),
            beam_size=search.beam_size,
            no_repeat_ngram_size=search.no_repeat_ngram_size,
            temperature=search.temperature,
            alone=id(self) if search.seeded else None,
        )


class TextGenerator:
    """Turns batches of encoder states into transcripts.

    Not thread-safe: the calls of one thread run one after the other on ``threads`` threads, outside the GIL.

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
            fallback_temperatures: sampled in turn where no deterministic search finds a good text. Empty by
                default: a sampled text costs the time to load the model once more.

        Raises:
            ConfigurationError: no such model there, or the CPU does not support the compute type.
        """
        self._loaded = model_dir, compute_type, threads
        self._model = _load(*self._loaded)
        self._vocabulary = Vocabulary(model_dir, multilingual=self._model.is_multilingual)
        self._fallback_temperatures = fallback_temperatures
        self.multilingual = self._vocabulary.multilingual
        self.languages = self._vocabulary.languages
        self.device = f"cpu:ctranslate2-{self._model.compute_type}"

    def generate(self, items: Sequence[DecodeItem]) -> list[Transcript]:
        """The transcript of each window, in order.

        The text of a window does not depend on the windows beside it.

        Raises:
            UnsupportedLanguageError: as ``begin``; no window is decoded then.
            ValueError: not ``[frames, d_model]``, or as many frames as a log-mel has bins.
        """
        decodings = [self.begin(item) for item in items]
        while pending := [decoding for decoding in decodings if decoding.transcript is None]:
            for group in _grouped(pending, lambda decoding: decoding.step).values():
                self.advance(group)
        return [decoding.transcript for decoding in decodings if decoding.transcript is not None]

    def begin(self, item: DecodeItem) -> Decoding:
        """The window before its first step.

        Raises:
            UnsupportedLanguageError: the model does not know the language, or cannot translate.
            ValueError: the states are not ``[frames, d_model]``, or have as many frames as a log-mel has bins.
        """
        self._vocabulary.check_options(item.options)
        self._check_states(item.states)
        decoding = Decoding(item)
        if item.options.language is not None or not self.multilingual:
            self._set_languages(decoding, (Language(item.options.language or "en", 1.0),))
        return decoding

    def advance(self, decodings: Sequence[Decoding]) -> None:
        """Take the next step of each window; the steps are equal, and one call of the model."""
        match decodings[0].step:
            case Detect() as step:
                self._detect(step, decodings)
            case Generate() as step:
                self._search(step, decodings)
            case Align():
                for decoding in decodings:
                    self._align(decoding)

    def _check_states(self, states: NDArray[np.float16 | np.float32]) -> None:
        frames, _ = states.shape
        # CTranslate2 tells states from a log-mel by the length of this one axis, and would encode again.
        if frames == self._model.n_mels:
            raise ValueError(f"Encoder states of {frames} frames would be taken for a log-mel of {frames} bins.")

    def _detect(self, step: Detect, decodings: Sequence[Decoding]) -> None:
        heard = _storage(decoding.item.states[: step.frames] for decoding in decodings)
        for decoding, ranking in zip(decodings, self._model.detect_language(heard), strict=True):
            candidates = self._likeliest(ranking)
            if candidates[0].probability < SURE_LANGUAGE and step.frames < len(decoding.item.states):
                decoding.frames_heard = len(decoding.item.states)
            else:
                self._set_languages(decoding, _competitors(candidates, speech_s(decoding.item.window)))

    def _likeliest(self, ranking: Iterable[tuple[str, float]]) -> tuple[Language, ...]:
        # Some conversions list tokens that are no language among the languages.
        codes = ((token.removeprefix("<|").removesuffix("|>"), probability) for token, probability in ranking)
        known = (Language(code, probability) for code, probability in codes if code in self.languages)
        return tuple(islice(known, CANDIDATES))

    def _set_languages(self, decoding: Decoding, languages: tuple[Language, ...]) -> None:
        decoding.languages = languages
        codes = [language.code for language in languages]
        options = decoding.item.options
        if speech_s(decoding.item.window) == 0.0:
            # Out of noise the model takes the words of the prompt.
            options = replace(options, prompt=None, hotwords=None)
        self._set_searches(decoding, ladder(options, codes, self._fallback_temperatures))

    def _set_searches(self, decoding: Decoding, searches: tuple[Search, ...]) -> None:
        decoding.searches = searches
        decoding.prompt = self._vocabulary.prompt(decoding.item.options, searches[0])

    def _search(self, step: Generate, decodings: Sequence[Decoding]) -> None:
        states = _storage(decoding.item.states for decoding in decodings)
        results = self._model_for(step, decodings).generate(
            states,
            [decoding.prompt for decoding in decodings],
            max_length=_max_length(step),
            suppress_blank=True,
            suppress_tokens=self._vocabulary.suppressed,
            return_scores=True,
            return_no_speech_prob=True,
            **_search_options(step),
        )
        for decoding, result in zip(decodings, results, strict=True):
            self._take(decoding, self._attempt(decoding, result, step))

    def _model_for(self, step: Generate, decodings: Sequence[Decoding]) -> Any:
        """The model; for seeded sampling a new one, whose random numbers depend on nothing but the window's states.

        CTranslate2 draws them from a generator of the model's own thread, which is seeded once, at its first draw.
        """
        if step.alone is None:
            return self._model
        (decoding,) = decodings
        ctranslate2.set_random_seed(zlib.crc32(decoding.item.states.tobytes()))
        return _load(*self._loaded)

    def _attempt(self, decoding: Decoding, result: Any, step: Generate) -> Attempt:
        generated = result.sequences_ids[0]
        tokens = self._vocabulary.text_tokens(generated)
        text = self._vocabulary.text(tokens)
        search, options = decoding.searches[0], decoding.item.options
        return Attempt(
            text=text,
            tokens=tokens,
            # The score is the mean without <|endoftext|>, whose own log probability it holds all the same.
            avg_logprob=result.scores[0] * len(generated) / (len(generated) + 1) if generated else 0.0,
            no_speech_prob=result.no_speech_prob,
            search=search,
            ended=len(generated) < min(step.max_new_tokens, MAX_POSITIONS - (step.prompt_tokens - 1)),
            speech_s=speech_s(decoding.item.window),
            echoes=search.prompted and self._vocabulary.echoes(text, options),
        )

    def _take(self, decoding: Decoding, attempt: Attempt) -> None:
        """Add an attempt; the searches are over if one is good and each candidate language had its turn."""
        decoding.attempts.append(attempt)
        following = decoding.searches[1:]
        is_settled = attempt.is_silence or len(decoding.attempts) >= len(decoding.languages)
        is_good = any(not each.needs_another for each in decoding.attempts)
        if following and not (is_good and is_settled):
            self._set_searches(decoding, following)
            return
        chosen = self._without_loops(decoding, best_attempt(decoding.attempts))
        if chosen.text and not chosen.is_silence and self._needs_times(decoding, chosen):
            decoding.chosen = chosen
        else:
            decoding.transcript = _transcript(decoding, chosen)

    def _without_loops(self, decoding: Decoding, attempt: Attempt) -> Attempt:
        """What still loops is cut after its first pass, and what the token limit cut after its last whole word."""
        tokens = until_first_pass(attempt.tokens, self._vocabulary.text) if attempt.loops else attempt.tokens
        if not attempt.ended and tokens == attempt.tokens:
            spaced = is_spaced(self._tokenizer(decoding, attempt))
            tokens = self._vocabulary.without_last_word(tokens, spaced=spaced)
        is_cut = len(tokens) < len(attempt.tokens)
        text = self._vocabulary.text(tokens)
        return replace(attempt, tokens=tokens, text=text, ended=attempt.ended and not is_cut, written=attempt.tokens)

    def _needs_times(self, decoding: Decoding, attempt: Attempt) -> bool:
        item = decoding.item
        return item.options.word_times or not attempt.ended or may_end_early(item.window, attempt.text)

    def _align(self, decoding: Decoding) -> None:
        attempt, item = decoding.chosen, decoding.item
        if attempt is None:
            raise ValueError("Only a chosen text can be aligned.")
        spans = word_spans(
            self._model,
            self._tokenizer(decoding, attempt),
            item.states,
            attempt.written,
            item.window,
            len(attempt.tokens),
        )
        rest_from_s = _rest(attempt, item.window, spans)
        transcript = replace(_transcript(decoding, attempt), rest_from_s=rest_from_s)
        if item.options.word_times:
            transcript = replace(transcript, words=timed_words(spans, item.window))
        decoding.transcript = transcript

    def _tokenizer(self, decoding: Decoding, attempt: Attempt) -> Any:
        return self._vocabulary.tokenizer(attempt.search.language, decoding.item.options.task)


def _rest(attempt: Attempt, window: Window, spans: list[Span]) -> float | None:
    """Where the text ends although somebody goes on speaking."""
    end_s = window.start_s + (spans[-1].end_s if spans else 0.0)
    return rest_after_end(window, end_s) if attempt.ended else rest_after_cut(window, end_s)


def _transcript(decoding: Decoding, attempt: Attempt) -> Transcript:
    language = next(
        (each for each in decoding.languages if each.code == attempt.search.language),
        Language(attempt.search.language, 1.0),
    )
    spoken = bool(attempt.text) and not attempt.is_silence
    return Transcript(
        text=attempt.text if spoken else "",
        tokens=attempt.tokens if spoken else (),
        language=language.code,
        language_probability=language.probability,
        avg_logprob=attempt.avg_logprob,
        no_speech_prob=attempt.no_speech_prob,
        compression_ratio=attempt.compression_ratio,
        temperature=attempt.search.temperature,
    )


def _competitors(candidates: tuple[Language, ...], heard_s: float) -> tuple[Language, ...]:
    """The languages to try of those that were detected in so many seconds of speech, the likeliest first."""
    first, *others = candidates
    if first.probability >= (SURE_LANGUAGE if heard_s > SHORT_SPEECH_S else DOUBTFUL_LANGUAGE):
        return (first,)
    return (first, *(other for other in others if other.probability >= LIKELY_LANGUAGE))


def _search_options(step: Generate) -> dict[str, Any]:
    if step.temperature == 0:
        return {"beam_size": step.beam_size, "no_repeat_ngram_size": step.no_repeat_ngram_size}
    return {
        "beam_size": 1,
        "num_hypotheses": SAMPLES,
        "sampling_topk": 0,
        "sampling_temperature": step.temperature,
    }


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


def _storage(states: Iterable[NDArray[np.float16 | np.float32]]) -> Any:
    """One contiguous, writable ``[batch, frames, d_model]`` array, which is what CTranslate2 accepts."""
    return ctranslate2.StorageView.from_array(np.stack(list(states), dtype=np.float32))


def max_new_tokens(duration_s: float) -> int:
    """Tokens a window of this length may hold, so that endless repetition on noise ends early.

    English speech takes 4-8 tokens a second, scripts that the tokenizer hardly knows several times that; the bound
    is 112 up to 5 s, 192 up to 10 s and then Whisper's own 224. In steps, as windows of one call share the bound.
    """
    steps = max(1, math.ceil(duration_s / 5))
    return min(MAX_POSITIONS // 2, 32 + 80 * steps)


def _max_length(step: Generate) -> int:
    """CTranslate2's ``max_length`` that allows ``step.max_new_tokens``.

    It generates at most ``min(max_length / 2, max_length - start)`` tokens; all prompt tokens but the last come
    before ``start``.
    """
    start = step.prompt_tokens - 1
    return min(MAX_POSITIONS, max(2 * step.max_new_tokens, start + step.max_new_tokens))


def _grouped(values: Iterable[_T], key: Callable[[_T], _Key]) -> dict[_Key, list[_T]]:
    """The values of each key, keys in order of first appearance."""
    groups: dict[_Key, list[_T]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups
