"""The command line. Each command is a process of its own and a module here; only ``serve`` starts Ray."""
