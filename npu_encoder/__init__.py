"""Whisper's encoder on a device: weights, graphs and backends. Knows nothing of Ray or HTTP."""
