"""Chaos test: kills and hangs every kind of process of a service under mixed load, and accounts for every request."""
