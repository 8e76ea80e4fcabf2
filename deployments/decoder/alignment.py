"""When each word was spoken, by WhisperX's forced alignment: finer than cross-attention, for a language with a model.

A wav2vec2 CTC model gives the probability of each letter in each 20 ms frame, and the best path through the letters
of a text gives their times. Loading and path search are WhisperX's. Its ``align`` around them is not used: it
downloads NLTK data at the first call, and loses the words of a text that has no path.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deployments.decoder.word_times import place
from deployments.shared.contracts import Transcript, Window, Word
from deployments.shared.errors import ConfigurationError
from deployments.shared.frames import SAMPLE_RATE
from deployments.shared.languages import WITHOUT_SPACES
from deployments.shared.lean_imports import take_in

INT16_SCALE: Final = 32_768.0
MIN_SAMPLES: Final = 400
"""Samples that wav2vec2's feature encoder needs at least: shorter audio is padded."""


@dataclass(frozen=True, slots=True)
class _Letter:
    """A token of the CTC model to be found in the audio.

    Attributes:
        token: index into the model's output.
        word: index of its word; None for the space between two words.
    """

    token: int
    word: int | None


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a word is, in seconds from the start of the window, and its probability."""

    start_s: float
    end_s: float
    probability: float


class PhonemeAligner:
    """A wav2vec2 model that aligns words with the audio of their window, for one language.

    It costs about 13 s of imports and the memory of torch, so only replicas that are configured to use it make one.

    Attributes:
        language: ISO code of the texts it can align.
    """

    def __init__(self, model: str | None, language: str) -> None:
        """Load a wav2vec2 CTC model.

        Args:
            model: a directory as transformers saves it, a hub id or a torchaudio bundle; None takes WhisperX's
                choice for the language.
            language: ISO code.

        Raises:
            ConfigurationError: the model is neither on this machine nor available over the network, or WhisperX is
                not installed.
        """
        if model is not None and _is_path(model) and not Path(model).is_dir():
            raise ConfigurationError(
                f"There is no alignment model in {model}; put the files of a wav2vec2 CTC model there"
            )
        # Imported here because it takes 13 s, and only replicas with an aligner need it.
        take_in()  # WhisperX needs pandas
        try:
            from whisperx import alignment  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(
                f"align_model needs WhisperX, which cannot be imported here ({error}); install it with "
                "`pip install whisperx`, or set no align_model"
            ) from error

        self._whisperx: Any = alignment
        try:
            self._model, metadata = alignment.load_align_model(language, "cpu", model_name=model)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"Cannot load the alignment model '{model or 'default'}' for language '{language}'; save a wav2vec2 "
                f"CTC model to a directory and configure its path instead ({error})"
            ) from error
        self._is_torchaudio = metadata["type"] == "torchaudio"
        self._tokens: dict[str, int] = metadata["dictionary"]
        self._blank = self._tokens.get("[pad]", self._tokens.get("<pad>", 0))
        self._spaced = language not in WITHOUT_SPACES
        self.language = language

    def align(self, pcm: NDArray[np.int16], window: Window, transcript: Transcript) -> tuple[Word, ...]:
        """Return the words of ``transcript`` with their times.

        Args:
            pcm: audio of the window, ``[samples]``, 16 kHz mono.
            window: where the audio comes from.
            transcript: its text.

        Returns:
            Every word of the text in order, monotone and inside the window. Words without a letter the model knows,
            or of a text too long for the audio, share the time between their neighbours, with probability 0.
        """
        words = transcript.text.split() if self._spaced else [*"".join(transcript.text.split())]
        duration_s = len(pcm) / SAMPLE_RATE
        spans = _filled(self._spans(pcm, words), duration_s)
        return tuple(
            Word(word, place(window, span.start_s), place(window, span.end_s), span.probability)
            for word, span in zip(words, spans, strict=True)
        )

    def _spans(self, pcm: NDArray[np.int16], words: list[str]) -> list[_Span | None]:
        """Find where each word is; None where it cannot be told."""
        log_probs = self._log_probs(pcm)
        letters = self._letters(words, wildcard=log_probs.shape[1] - 1)
        path = self._path(log_probs, [letter.token for letter in letters])
        frame_s = len(pcm) / SAMPLE_RATE / len(log_probs)
        found: dict[int, list[Any]] = {}
        for letter, position in zip(letters, path, strict=False):
            if letter.word is not None:
                found.setdefault(letter.word, []).append(position)
        return [_span(found[word], frame_s) if word in found else None for word in range(len(words))]

    def _letters(self, words: list[str], *, wildcard: int) -> list[_Letter]:
        """List what to look for: known characters, unknown letters and digits as a wildcard, spaces between words."""
        separator = self._tokens.get("|") if self._spaced else None
        letters: list[_Letter] = []
        for index, word in enumerate(words):
            if index and separator is not None:
                letters.append(_Letter(separator, None))
            letters.extend(
                _Letter(self._tokens.get(character, wildcard), index)
                for character in word.lower()
                if character in self._tokens or character.isalnum()
            )
        return letters

    def _log_probs(self, pcm: NDArray[np.int16]) -> Any:
        """Compute log probabilities ``[frames, tokens + 1]``.

        The last column, the wildcard, is the best of all tokens but the blank.
        """
        import torch  # noqa: PLC0415

        samples = np.zeros((1, max(len(pcm), MIN_SAMPLES)), np.float32)
        samples[0, : len(pcm)] = pcm / INT16_SCALE
        with torch.inference_mode():
            output = self._model(torch.from_numpy(samples))
            logits = output[0] if self._is_torchaudio else output.logits
            log_probs = torch.log_softmax(logits[0], dim=-1)
            spoken = torch.arange(log_probs.shape[1]) != self._blank
            return torch.cat([log_probs, log_probs[:, spoken].amax(dim=1, keepdim=True)], dim=1)

    def _path(self, log_probs: Any, tokens: list[int]) -> list[Any]:
        """Return WhisperX's segment (start and end frame, score) of each token; empty where there is no path."""
        if not tokens:
            return []
        trellis = self._whisperx.get_trellis(log_probs, tokens, self._blank)
        path = self._whisperx.backtrack(trellis, log_probs, tokens, self._blank)
        return [] if path is None else list(self._whisperx.merge_repeats(path, tokens))


def _is_path(model: str) -> bool:
    return Path(model).is_absolute() or model.startswith(".")


def _span(letters: list[Any], frame_s: float) -> _Span:
    return _Span(
        start_s=letters[0].start * frame_s,
        end_s=letters[-1].end * frame_s,
        probability=fmean(letter.score for letter in letters),
    )


def _filled(spans: list[_Span | None], duration_s: float) -> list[_Span]:
    """Share the time between two found words evenly among the words between them that were not found."""
    filled: list[_Span] = []
    left_s = 0.0
    for index, span in enumerate(spans):
        following = next((later for later in range(index, len(spans)) if spans[later] is not None), len(spans))
        found = spans[following] if following < len(spans) else None
        right_s = found.start_s if found else duration_s
        share_s = (right_s - left_s) / max(1, following - index)
        filled.append(span or _Span(left_s, left_s + share_s, 0.0))
        left_s = filled[-1].end_s
    return filled
