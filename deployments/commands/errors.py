"""Why a command failed, for the person who gave it."""

from __future__ import annotations


class CommandError(Exception):
    """The command could not do what it was asked. The message goes to stderr, and the exit status is 1."""
