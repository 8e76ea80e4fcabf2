"""Which listener a Diarizer has: what the setting ``diarization_model`` names."""

from __future__ import annotations

from deployments.diarizer.listener import BuiltIn, Listener
from deployments.diarizer.pyannote_pipeline import PyannotePipeline
from deployments.shared.speaker_models import BUILT_IN_SPEAKERS


def load_listener(model: str, token: str | None) -> Listener:
    """Return what tells speakers apart.

    Raises:
        SpeakersUnavailableError: it cannot be loaded.
    """
    return BuiltIn() if model == BUILT_IN_SPEAKERS else PyannotePipeline(model, token)
