"""A model directory's tokenizer: prompts to generate from, tokens to suppress, tokens to text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import tokenizers
from faster_whisper.tokenizer import Tokenizer as WhisperTokenizer

from deployments.decoder.loops import first_passes
from deployments.decoder.search import Search
from deployments.shared.contracts import DecodeOptions, Task, TokenLogprob
from deployments.shared.errors import ConfigurationError, UnsupportedLanguageError
from deployments.shared.languages import LANGUAGES

MAX_PROMPT_TOKENS: Final = 223
"""Tokens that the text before may have: half of the decoder's 448 positions, less ``<|startofprev|>``."""

MAX_HOTWORD_TOKENS: Final = 111
"""Tokens that hotwords may have: half of that room, so that the prompt has some too."""

REPLACEMENT: Final = "\ufffd"
"""What bytes are decoded to if they are no character."""


class Vocabulary:
    """What the tokens of one model mean.

    Attributes:
        multilingual: whether prompts hold a language and a task token.
        languages: codes the model can be asked for; only ``en`` for an English-only model.
    """

    def __init__(self, model_dir: Path, *, multilingual: bool) -> None:
        """Read ``tokenizer.json``.

        Raises:
            ConfigurationError: the model directory has no readable ``tokenizer.json``.
        """
        path = model_dir / "tokenizer.json"
        try:
            self._tokens = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing narrower
            raise ConfigurationError(f"Cannot read {path}; put the model's tokenizer.json there ({error})") from error
        self.multilingual = multilingual
        self.languages = self._known_languages() if multilingual else ("en",)
        self.tokenizer = cache(self._tokenizer)

    def check_options(self, options: DecodeOptions) -> None:
        """Reject options that the model cannot honour.

        Raises:
            UnsupportedLanguageError: the model does not know the language, or cannot translate.
        """
        if options.language is not None and options.language not in self.languages:
            raise UnsupportedLanguageError.unknown_to_model(options.language, self.languages)
        if options.task == "translate" and not self.multilingual:
            raise UnsupportedLanguageError.cannot_translate()

    def prompt(self, options: DecodeOptions, search: Search) -> list[int]:
        """Return ``[<|startofprev|> hotwords text] <|startoftranscript|> [language task] <|notimestamps|>``.

        faster-whisper builds the same, but here special tokens that are spelled out in the caller's text are dropped:
        they would move the start of the transcript. There are no timestamps: with them ``base`` makes more errors, on
        short foreign clips (27.1% of words against 22.3) as on pairs of utterances with a pause between them (12.6
        against 12.3).
        """
        tokenizer = self.tokenizer(search.language, options.task)
        start = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        previous = self._previous(options) if search.prompted else []
        return [tokenizer.sot_prev, *previous, *start] if previous else start

    def _previous(self, options: DecodeOptions) -> list[int]:
        """Return the hotwords, then the end of the prompt, in ``MAX_PROMPT_TOKENS``.

        Each loop in them is said once: the model would continue it.
        """
        hotwords = self._given(options.hotwords)[:MAX_HOTWORD_TOKENS]
        prompt = self._end(self._given(options.prompt), MAX_PROMPT_TOKENS - len(hotwords))
        return [*first_passes(hotwords, self.text), *first_passes(prompt, self.text)]

    def _given(self, text: str | None) -> list[int]:
        """Return the tokens of text from a request."""
        stripped = (text or "").strip()
        ids = self._tokens.encode(f" {stripped}", add_special_tokens=False).ids if stripped else []
        return [token for token in ids if token < self.end]

    def _end(self, tokens: list[int], at_most: int) -> list[int]:
        """Return the last tokens, from the first beginning of a word on if there is one."""
        end = tokens[-at_most:]
        if len(end) == len(tokens):
            return end
        begins = (i for i, token in enumerate(end) if self._tokens.decode([token])[:1].isspace())
        return end[next(begins, 0) :]

    def echoes(self, text: str, options: DecodeOptions) -> bool:
        """Return whether all words of a text are in the request's prompt or hotwords, in this order."""
        words = _bare_words(text)
        given = f"{options.hotwords or ''} {options.prompt or ''}"
        return bool(words) and f" {' '.join(words)} " in f" {' '.join(_bare_words(given))} "

    def text_tokens(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """Return ``tokens`` without special tokens, timestamps, and pieces of characters that never become whole."""
        text = tuple(token for token in tokens if token < self.end)
        if REPLACEMENT not in self.text(text):
            return text
        return tuple(token for run in self._characters(text) if REPLACEMENT not in self.text(run) for token in run)

    def without_last_word(self, tokens: tuple[int, ...], *, spaced: bool) -> tuple[int, ...]:
        """Return ``tokens`` without the last word, or without the last character where there are no spaces.

        Where a text was cut, the last word may be half a word. A text of a single word stays as it is.
        """
        runs = self._characters(tokens)
        begins = [i for i, run in enumerate(runs) if not spaced or self._tokens.decode(run)[:1].isspace()]
        kept = runs[: begins[-1]] if begins else []
        return tuple(token for run in kept for token in run) or tokens

    def token_logprobs(self, tokens: tuple[int, ...], logprobs: Sequence[float]) -> tuple[TokenLogprob, ...]:
        """Return the texts of ``tokens`` with the natural logarithms of their probabilities."""
        found: list[TokenLogprob] = []
        at = 0
        for run in self._characters(tokens):
            found.append(TokenLogprob(str(self._tokens.decode(run)), sum(logprobs[at : at + len(run)])))
            at += len(run)
        return tuple(found)

    def _characters(self, tokens: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Split tokens into the shortest runs that decode to whole characters."""
        _, runs = self.tokenizer("en", "transcribe").split_tokens_on_unicode(list(tokens))
        return [tuple(run) for run in runs]

    def text(self, tokens: tuple[int, ...]) -> str:
        """Return the text of ``tokens`` without surrounding white space."""
        return str(self._tokens.decode(tokens)).strip()

    @cached_property
    def end(self) -> int:
        """``<|endoftext|>``, the first token that is not text."""
        return int(self._tokens.token_to_id("<|endoftext|>"))

    @cached_property
    def suppressed(self) -> list[int]:
        """Tokens never generated, as in faster-whisper: symbols nobody speaks, prompt tokens, the model's list (-1)."""
        tokenizer = self.tokenizer("en", "transcribe")
        control = (
            tokenizer.transcribe,
            tokenizer.translate,
            tokenizer.sot,
            tokenizer.sot_prev,
            tokenizer.sot_lm,
            tokenizer.no_speech,
        )
        return [
            -1,
            *sorted({*tokenizer.non_speech_tokens, *(token for token in control if token is not None)}),
        ]

    def _known_languages(self) -> tuple[str, ...]:
        return tuple(code for code in LANGUAGES if self._tokens.token_to_id(f"<|{code}|>") is not None)

    def _tokenizer(self, language: str, task: Task) -> Any:
        """Make faster-whisper's tokenizer for a language and a task; the library is not typed."""
        return WhisperTokenizer(self._tokens, multilingual=self.multilingual, task=task, language=language)


def _bare_words(text: str) -> list[str]:
    """Return the words in lower case, without punctuation."""
    return "".join(character if character.isalnum() else " " for character in text.lower()).split()
