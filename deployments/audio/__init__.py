"""From uploaded bytes to windows of speech and their log-mel: plain functions, one thread, no Ray."""

SAMPLE_RATE = 16_000
"""Samples a second of everything behind the decoder: what Whisper and Silero VAD are trained on."""
