"""The encoder on the CPU: one file per runtime."""
