"""Sequential mode: the same graph, one window at a time. It is the baseline that pipelining is measured against."""

from __future__ import annotations

from typing import Final

SEQUENTIAL_SETTINGS: Final[dict[str, int]] = {
    "slots": 1,
    "max_windows_in_flight": 1,
    "mel_replicas": 1,
    "max_mel_replicas": 0,
    "encoder_replicas": 1,
    "decoder_replicas": 1,
    "max_decoder_replicas": 0,
    "encoder_batch_size": 1,
    "decoder_batch_size": 1,
}
"""What ``enable_pipeline: false`` sets, whatever else is configured."""
