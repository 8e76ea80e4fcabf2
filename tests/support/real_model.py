"""OpenAI's Whisper base for tests that need real weights: found as the service finds it, never fetched."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from deployments.shared.model.finding import find

NAME = "base"


@cache
def real_base() -> Path:
    """Return the directory of Whisper base; skip the test where neither the cache nor installed packages have it."""
    path = find(NAME)
    if path is None:
        pytest.skip(f"Whisper {NAME} is not on this machine: amanuensis model pull {NAME}")
    return path
