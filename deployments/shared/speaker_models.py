"""What the setting ``diarization_model`` may say beside the name of a pyannote pipeline."""

from __future__ import annotations

from typing import Final

BUILT_IN_SPEAKERS: Final = "built-in"
NO_SPEAKERS: Final = "off"
