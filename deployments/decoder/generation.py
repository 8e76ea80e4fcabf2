"""Encoder states in, transcripts out: the steps of many windows, shared where they are equal.

No window waits for steps that only others need.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from deployments.decoder.language import Language, after, competitors, is_sure, ranked_languages
from deployments.decoder.loops import until_first_pass
from deployments.decoder.quality import Attempt, best_attempt
from deployments.decoder.rests import may_end_early, rest_after_cut, rest_after_end, speech_s
from deployments.decoder.search import Search, ladder
from deployments.decoder.steps import Align, DecodeItem, Decoding, Detect, Generate, States
from deployments.decoder.vocabulary import Vocabulary
from deployments.decoder.whisper_model import WhisperModel
from deployments.decoder.word_times import Span, align, is_spaced, timed_words
from deployments.shared.contracts import Transcript, Window
from npu_encoder.cpu.ctranslate2 import CTranslate2Device

Value = TypeVar("Value")
Key = TypeVar("Key", bound=Hashable)


class TextGenerator:
    """A Whisper decoder that turns batches of encoder states into transcripts.

    Thread-safe: as many calls run at the same time as batches have lanes, each on ``threads`` threads, outside the GIL.

    Attributes:
        multilingual: whether the model knows other languages than English, and can translate.
        languages: codes the model can be asked for.
        device: what computes, for example ``cpu:ctranslate2-int8_float32``.
    """

    def __init__(
        self,
        model_dir: Path,
        *,
        device: CTranslate2Device = "cpu",
        compute_type: str = "int8",
        threads: int = 1,
        fallback_temperatures: tuple[float, ...] = (),
        full_states: int | None = None,
    ) -> None:
        """Load a CTranslate2 Whisper directory.

        Args:
            model_dir: a directory with ``model.bin`` and ``tokenizer.json``.
            device: what computes; ``cuda`` is the GPU of builds for ROCm too.
            compute_type: CTranslate2's name of the precision. ``int8`` is the fastest; ``int16`` scales a batch as a
                whole, so that texts depend a little on their neighbours.
            threads: threads that one call computes on.
            fallback_temperatures: temperatures sampled at in turn where no deterministic search finds a good text.
                Empty by default: a sampled text costs the time to load the model once more.
            full_states: states of a full window, where windows of fewer states can be encoded again in full; None
                where they cannot.

        Raises:
            ConfigurationError: the directory holds no such model, there is no such device, or it does not support the
                compute type.
        """
        self._model = WhisperModel(model_dir, device, compute_type, threads)
        self._vocabulary = Vocabulary(model_dir, multilingual=self._model.multilingual)
        self._fallback_temperatures = fallback_temperatures
        self._full_states = full_states
        self.multilingual = self._vocabulary.multilingual
        self.languages = self._vocabulary.languages
        self.device = self._model.device

    def generate(self, items: Sequence[DecodeItem]) -> list[Transcript]:
        """Return the transcript of each window, in order.

        The text of a window does not depend on the windows beside it.

        Raises:
            UnsupportedLanguageError, ValueError: as ``begin``; no window is decoded then.
        """
        decodings = [self.begin(item) for item in items]
        while pending := [decoding for decoding in decodings if decoding.transcript is None]:
            for group in _grouped(pending, lambda decoding: decoding.step).values():
                self.advance(group)
        return [decoding.transcript for decoding in decodings if decoding.transcript is not None]

    def log_probability(self, states: States, transcript: Transcript) -> float:
        """Return the mean natural logarithm of the probability of a text's tokens, given encoder states.

        Args:
            states: ``[ctx, d_model]``, of any window.
            transcript: what was transcribed in it; not empty.
        """
        tokenizer = self._vocabulary.tokenizer(transcript.language, "transcribe")
        return self._model.log_probability(states, tokenizer.sot_sequence, transcript.tokens)

    def begin(self, item: DecodeItem) -> Decoding:
        """Return the window before its first step.

        Raises:
            UnsupportedLanguageError: the model does not know the language, or cannot translate.
            ValueError: the states are not ``[frames, d_model]``, or have as many frames as a log-mel has bins.
        """
        self._vocabulary.check_options(item.options)
        self._model.check_states(item.states)
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

    def _detect(self, step: Detect, decodings: Sequence[Decoding]) -> None:
        rankings = self._model.detect(decoding.item.states[step.chosen] for decoding in decodings)
        for decoding, ranking in zip(decodings, rankings, strict=True):
            ranked = ranked_languages(ranking, self.languages, decoding.item.options.among)
            if not is_sure(ranked) and step.frames < len(decoding.item.states):
                decoding.frames_heard = len(decoding.item.states)
            else:
                self._choose_languages(decoding, ranked)

    def _choose_languages(self, decoding: Decoding, ranked: tuple[Language, ...]) -> None:
        options = decoding.item.options
        if options.language_before is not None:
            self._set_languages(decoding, after(options.language_before, ranked))
        elif options.draft:
            self._set_languages(decoding, ranked[:1])
        else:
            self._set_languages(decoding, competitors(ranked, speech_s(decoding.item.window)))

    def _set_languages(self, decoding: Decoding, languages: tuple[Language, ...]) -> None:
        decoding.languages = languages
        codes = [language.code for language in languages]
        options = decoding.item.options
        if speech_s(decoding.item.window) == 0.0:
            # In noise the model hears the words of the prompt.
            options = replace(options, prompt=None, hotwords=None)
        asked = options.fallback_temperatures
        temperatures = self._fallback_temperatures if asked is None else asked
        self._set_searches(decoding, ladder(options, codes, temperatures))

    def _set_searches(self, decoding: Decoding, searches: tuple[Search, ...]) -> None:
        decoding.searches = searches
        decoding.prompt = self._vocabulary.prompt(decoding.item.options, searches[0])

    def _search(self, step: Generate, decodings: Sequence[Decoding]) -> None:
        results = self._model.generate(
            step,
            [decoding.item.states for decoding in decodings],
            [decoding.prompt for decoding in decodings],
            self._vocabulary.suppressed,
        )
        for decoding, result in zip(decodings, results, strict=True):
            self._take(decoding, self._attempt(decoding, result, step))

    def _attempt(self, decoding: Decoding, result: Any, step: Generate) -> Attempt:
        generated = result.sequences_ids[0]
        tokens = self._vocabulary.text_tokens(generated)
        text = self._vocabulary.text(tokens)
        search, options = decoding.searches[0], decoding.item.options
        # Where tokens were left out in the middle, nobody can say which of the others they made doubtful.
        has_logprobs = step.logits and tokens == tuple(generated)
        return Attempt(
            text=text,
            tokens=tokens,
            # The score is the mean without <|endoftext|>, whose own log probability it holds all the same.
            avg_logprob=result.scores[0] * len(generated) / (len(generated) + 1) if generated else 0.0,
            no_speech_prob=result.no_speech_prob,
            search=search,
            ended=len(generated) < step.token_limit,
            speech_s=speech_s(decoding.item.window),
            echoes=search.prompted and self._vocabulary.echoes(text, options),
            logprobs=self._model.logprobs(result) if has_logprobs else (),
        )

    def _take(self, decoding: Decoding, attempt: Attempt) -> None:
        """Add an attempt; end the searches if one is good and each candidate language had its turn."""
        decoding.attempts.append(attempt)
        following = decoding.searches[1:]
        is_settled = attempt.is_silence or attempt.settles_language or len(decoding.attempts) >= len(decoding.languages)
        is_good = any(not each.needs_another for each in decoding.attempts)
        if is_settled and not is_good and self._can_be_longer(decoding):
            decoding.transcript = replace(_transcript(decoding, attempt), needs_full_window=True)
            return
        if following and not (is_good and is_settled):
            self._set_searches(decoding, following)
            return
        chosen = self._without_loops(decoding, best_attempt(decoding.attempts))
        if chosen.text and not chosen.is_silence and self._needs_times(decoding, chosen):
            decoding.chosen = chosen
        else:
            transcript = _transcript(decoding, chosen)
            logprobs = self._vocabulary.token_logprobs(transcript.tokens, chosen.logprobs) if chosen.logprobs else ()
            decoding.transcript = replace(transcript, logprobs=logprobs)

    def _can_be_longer(self, decoding: Decoding) -> bool:
        """Return whether less than 30 s was encoded, and the window can be encoded again."""
        if self._full_states is None or decoding.item.options.draft:
            return False
        return len(decoding.item.states) < self._full_states

    def _without_loops(self, decoding: Decoding, attempt: Attempt) -> Attempt:
        """Cut a text that still loops after its first pass, and one that the token limit cut after its last word."""
        tokens = until_first_pass(attempt.tokens, self._vocabulary.text) if attempt.loops else attempt.tokens
        if not attempt.ended and tokens == attempt.tokens:
            spaced = is_spaced(self._tokenizer(decoding, attempt))
            tokens = self._vocabulary.without_last_word(tokens, spaced=spaced)
        is_cut = len(tokens) < len(attempt.tokens)
        text = self._vocabulary.text(tokens)
        return replace(attempt, tokens=tokens, text=text, ended=attempt.ended and not is_cut, written=attempt.tokens)

    def _needs_times(self, decoding: Decoding, attempt: Attempt) -> bool:
        item = decoding.item
        if item.options.draft:
            return False
        return (
            item.options.word_times
            or item.options.logprobs
            or not attempt.ended
            or may_end_early(item.window, attempt.text)
        )

    def _align(self, decoding: Decoding) -> None:
        attempt, item = decoding.chosen, decoding.item
        if attempt is None:
            raise ValueError("Only a chosen text can be aligned")
        spans, logprobs = align(
            self._model.whisper,
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
        if item.options.logprobs:
            transcript = replace(transcript, logprobs=logprobs)
        decoding.transcript = transcript

    def _tokenizer(self, decoding: Decoding, attempt: Attempt) -> Any:
        return self._vocabulary.tokenizer(attempt.search.language, decoding.item.options.task)


def _rest(attempt: Attempt, window: Window, spans: list[Span]) -> float | None:
    """Return where the text ends although somebody goes on speaking, in seconds; None where it is complete."""
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


def _grouped(values: Iterable[Value], key: Callable[[Value], Key]) -> dict[Key, list[Value]]:
    """Group values by key; keys keep the order of their first appearance."""
    groups: dict[Key, list[Value]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups
