"""Waiting in a test for what other processes do."""

import time
from collections.abc import Callable

SOON_S = 20.0


def soon(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` becomes true within ``SOON_S``."""
    until = time.monotonic() + SOON_S
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
