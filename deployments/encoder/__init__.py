"""The Encoder deployment: log-mel -> encoder states, on the NPU or the CPU. It runs in one actor per device."""
