"""Whether a model writes as well from trimmed windows, with averages for the silence, as from full ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deployments.commands.tuning.recordings import Spoken
from deployments.decoder.generation import TextGenerator
from deployments.decoder.steps import DecodeItem, States
from deployments.shared.contracts import DecodeOptions, Transcript
from deployments.shared.frames import frames_for
from npu_encoder.cpu.openvino import OpenVinoBackend
from npu_encoder.silence import TrailingSilence, read_silence

MAX_LOST_NATS: Final = 0.012
"""Mean logarithm by which a token may become less probable.

With ``base`` on LibriSpeech the word error rate was the same at 0.005, and 0.9 points higher at 0.02, with rows behind
the states alone: see "Silence is averaged" in ``docs/decisions.md``.
"""

MAX_NOT_GOOD: Final = 0.1
"""Share of windows that may have to be encoded again in full: beyond it trimming saves little."""

BATCH: Final = 8


class Verdict(NamedTuple):
    """What the check found; see ``SilenceDescription``."""

    windows: int
    lost_nats: float
    not_good: float

    @property
    def passed(self) -> bool:
        """Whether the model may be given trimmed windows."""
        return self.windows > 0 and self.lost_nats <= MAX_LOST_NATS and self.not_good <= MAX_NOT_GOOD


@dataclass(frozen=True, slots=True)
class FullWindow:
    """A window, and the encoder states of all of its 30 s: ``[n_audio_ctx, d_model]``."""

    spoken: Spoken
    states: NDArray[np.float32]


def check(model_dir: Path, silence: Path, windows: Sequence[FullWindow], precision: str) -> Verdict:
    """Compare the texts of full windows with what trimmed ones say of them.

    Args:
        model_dir: CTranslate2 Whisper directory.
        silence: the averages, made from other recordings.
        windows: some with speech in them.
        precision: of the encoder, as for OpenVINO's backend.
    """
    encoder = OpenVinoBackend(model_dir, precision=precision, silence=silence)
    generator = TextGenerator(model_dir, full_states=encoder.dimensions.n_audio_ctx)
    of_silence = read_silence(silence)
    lost: list[float] = []
    tokens: list[int] = []
    not_good = 0
    for batch in (windows[start : start + BATCH] for start in range(0, len(windows), BATCH)):
        transcripts = generator.generate([_item(window, window.states) for window in batch])
        believed = [pair for pair in zip(batch, transcripts, strict=True) if pair[1].tokens]
        for window, transcript in believed:
            states = _trimmed(encoder, of_silence, window.spoken)
            (trimmed,) = generator.generate([_item(window, states)])
            not_good += trimmed.needs_full_window
            lost.append(_lost(generator, transcript, window.states, states))
            tokens.append(len(transcript.tokens))
    if not tokens:
        return Verdict(0, 0.0, 0.0)
    return Verdict(len(tokens), float(np.average(lost, weights=tokens)), not_good / len(tokens))


def _item(window: FullWindow, states: States) -> DecodeItem:
    return DecodeItem(states, window.spoken.window, DecodeOptions())


def _trimmed(encoder: OpenVinoBackend, silence: TrailingSilence, spoken: Spoken) -> NDArray[np.float32]:
    """Return what the Encoder hands on for a trimmed window: ``[ctx, d_model]``."""
    frames = frames_for(len(spoken.pcm))
    tail = silence.tail(frames // 2)
    states = np.concatenate([np.empty((frames // 2, encoder.dimensions.d_model), np.float32), tail])
    encoder.encode([spoken.log_mel(encoder.dimensions.n_mels, frames)], [states[: frames // 2]])
    return states


def _lost(generator: TextGenerator, transcript: Transcript, full: States, trimmed: States) -> float:
    return generator.log_probability(full, transcript) - generator.log_probability(trimmed, transcript)
