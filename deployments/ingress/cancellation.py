"""Tells a cancellation that somebody asked for from a CancelledError that a library raises by itself."""

from __future__ import annotations

import asyncio


def is_cancelled() -> bool:
    """Return whether the task that runs this is itself being cancelled.

    Where it is not, a ``CancelledError`` means that what the task waited for was cancelled under it: a channel that was
    closed, or a call that was given up elsewhere.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
