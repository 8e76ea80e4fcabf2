"""The chaos test: every kind of process dies or hangs under mixed load, and every request is accounted for."""
