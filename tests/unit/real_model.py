"""OpenAI's Whisper base, for tests of what only real weights do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def base_model() -> Path:
    """The directory of the model in the local cache; the test is skipped without it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = cache / "amanuensis" / "models" / "base"
    if not (path / "model.bin").is_file():
        pytest.skip(f"needs Whisper base in {path}")
    return path
