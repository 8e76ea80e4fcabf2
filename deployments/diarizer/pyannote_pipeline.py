"""A pipeline of pyannote.audio that tells speakers apart, loaded and run by WhisperX.

Its import takes half a minute and the memory of torch, so only replicas that are configured to use it make one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.diarizer.diarization import Diarization, Progressed
from deployments.diarizer.voices import Float32, unit
from deployments.shared.contracts import Turn
from deployments.shared.errors import SpeakersUnavailableError
from deployments.shared.frames import SAMPLE_RATE
from deployments.shared.lean_imports import take_in


class PyannotePipeline:
    """A pipeline for telling speakers apart.

    Attributes:
        name: of the model, for statistics.
    """

    def __init__(self, model: str, token: str | None) -> None:
        """Load a pipeline.

        Args:
            model: hub id, or directory with its ``config.yaml``.
            token: for the hub; the repositories ask for one, and to accept their conditions first.

        Raises:
            SpeakersUnavailableError: WhisperX is not installed, or the pipeline cannot be loaded.
        """
        take_in()  # WhisperX needs pandas
        try:
            from whisperx.diarize import DiarizationPipeline  # noqa: PLC0415  (half a minute, see above)
        except ImportError as error:
            raise SpeakersUnavailableError.not_installed(model, error) from error
        try:
            self._pipeline: Any = DiarizationPipeline(model, token=token)
        except Exception as error:
            # pyannote raises what its parts raise, and AttributeError where the hub gave it nothing.
            raise SpeakersUnavailableError.not_loadable(model, error) from error
        self.name = f"cpu:{model}"

    def diarize(
        self, pcm: NDArray[np.int16], fewest: int | None, most: int | None, progressed: Progressed
    ) -> Diarization:
        """Return who speaks when."""
        table, embeddings = self._pipeline(
            pcm.astype(np.float32) / 32768,
            min_speakers=fewest,
            max_speakers=most,
            return_embeddings=True,
            progress_callback=lambda _percent: progressed(),
        )
        rows = sorted(zip(table["start"], table["end"], table["speaker"], strict=True))
        names = list(dict.fromkeys(speaker for _, _, speaker in rows))
        turns = [Turn(float(start), float(end), names.index(speaker)) for start, end, speaker in rows]
        voices = np.array([embeddings[name] for name in names], np.float32) if embeddings else np.empty((0, 1))
        levels = [_level_db(pcm, [turn for turn in turns if turn.speaker == number]) for number in range(len(names))]
        return Diarization(turns, unit(voices.astype(np.float32)), levels)

    def voice(self, pcm: NDArray[np.int16]) -> Float32:
        """Return the embedding of the one voice in some seconds of audio."""
        found = self.diarize(pcm, 1, 1, lambda: None)
        if not len(found.voices):
            raise SpeakersUnavailableError.no_voice()
        voice: Float32 = found.voices[0]
        return voice


def _level_db(pcm: NDArray[np.int16], turns: list[Turn]) -> float:
    parts = [pcm[round(turn.start_s * SAMPLE_RATE) : round(turn.end_s * SAMPLE_RATE)] for turn in turns]
    power = float(np.mean((np.concatenate(parts).astype(np.float32) / 32768) ** 2))
    return 10 * float(np.log10(power + 1e-10))
