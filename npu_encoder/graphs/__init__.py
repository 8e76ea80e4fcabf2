"""Whisper's encoder as OpenVINO graphs, for the CPU backend and for the host's share of the NPU backend."""
