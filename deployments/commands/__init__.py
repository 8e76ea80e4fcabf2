"""The command line. Each command is a process of its own; only ``serve`` starts Ray."""
