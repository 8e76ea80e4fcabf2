"""A model directory's tokenizer: prompts to generate from, tokens to suppress, tokens to text."""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import tokenizers
from faster_whisper.tokenizer import Tokenizer as WhisperTokenizer

from deployments.contracts import DecodeOptions, Task
from deployments.errors import ConfigurationError, UnsupportedLanguageError
from deployments.text.languages import LANGUAGES

MAX_PROMPT_TOKENS: Final = 223
"""Of the text that came before: half of the decoder's 448 positions, less ``<|startofprev|>``."""


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
            raise ConfigurationError(f"Cannot read {path}: put the model's tokenizer.json there ({error}).") from error
        self.multilingual = multilingual
        self.languages = self._known_languages() if multilingual else ("en",)
        self.tokenizer = cache(self._tokenizer)

    def check(self, options: DecodeOptions) -> None:
        """Refuse what the model cannot do.

        Raises:
            UnsupportedLanguageError: the model does not know the language, or cannot translate.
        """
        if options.language is not None and options.language not in self.languages:
            raise UnsupportedLanguageError(
                f"The model does not know the language '{options.language}'. It knows: {', '.join(self.languages)}.",
                param="language",
            )
        if options.task == "translate" and not self.multilingual:
            raise UnsupportedLanguageError("The model is English-only and cannot translate.", param="model")

    def prompt(self, options: DecodeOptions, language: str) -> list[int]:
        """``[<|startofprev|> text] <|startoftranscript|> [language task] <|notimestamps|>``.

        As faster-whisper builds it, but special tokens spelled out in the caller's text are dropped: they would move
        the start of the transcript.
        """
        tokenizer = self.tokenizer(language, options.task)
        start = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        text = (options.prompt or "").strip()
        previous = [token for token in tokenizer.encode(f" {text}") if token < self.end] if text else []
        return [tokenizer.sot_prev, *previous[-MAX_PROMPT_TOKENS:], *start] if previous else start

    def text_tokens(self, tokens: list[int]) -> tuple[int, ...]:
        """``tokens`` without special tokens and timestamps."""
        return tuple(token for token in tokens if token < self.end)

    def text(self, tokens: tuple[int, ...]) -> str:
        """The text of ``tokens`` without surrounding white space."""
        return str(self._tokens.decode(tokens)).strip()

    @cached_property
    def end(self) -> int:
        """``<|endoftext|>``, the first token that is not text."""
        return int(self._tokens.token_to_id("<|endoftext|>"))

    @cached_property
    def suppressed(self) -> list[int]:
        """Never generated, as in faster-whisper: symbols nobody speaks, prompt tokens, the model's list (-1)."""
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
        """faster-whisper's tokenizer for a language and a task (untyped library)."""
        return WhisperTokenizer(self._tokens, multilingual=self.multilingual, task=task, language=language)
