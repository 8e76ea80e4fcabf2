"""The grid of the voice model, for those who read its probabilities and do not load it."""

from __future__ import annotations

from typing import Final

CHUNK: Final = 512
"""Samples per probability of speech at 16 kHz: 32 ms."""
