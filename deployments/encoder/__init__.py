"""The Encoder deployment: log-mel -> encoder states, on the NPU or the CPU. Runs in its one actor per device."""
