"""Waiting for a server that was started a moment ago."""

from __future__ import annotations

import subprocess
import time

import psutil
import requests

PAUSE_S = 0.5


def comes_up(url: str, seconds: float, process: subprocess.Popen[bytes] | psutil.Popen | None = None) -> bool:
    """Tell whether ``url`` answers with a status below 400 before ``seconds`` have passed or ``process`` has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and (process is None or process.poll() is None):
        if _is_up(url):
            return True
        time.sleep(PAUSE_S)
    return False


def _is_up(url: str) -> bool:
    try:
        return bool(requests.get(url, timeout=2).ok)
    except requests.RequestException:
        return False
