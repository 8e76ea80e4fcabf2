"""Shows on a terminal how far each file is: first the bytes sent, then the seconds of audio that are text.

Where stderr is no terminal there are no bars, only the lines.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import time

from tqdm import tqdm

from deployments.commands.client.events import Progress

SECONDS = "{desc}{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio [{elapsed}<{remaining}]"


class FileProgress:
    """The bar of one file, and what is said of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._has_text = False
        self._sent_at = time()
        self._bar = tqdm(
            desc=f"{path.name}: sending",
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            miniters=1,  # what tqdm would learn from bytes is wrong for seconds
            smoothing=0,  # windows come in bursts
            leave=False,
            disable=None,
            file=sys.stderr,
        )

    def sent(self, count: int, total: int) -> None:
        """Show that ``count`` of ``total`` bytes have been sent."""
        self._bar.total = total
        self._bar.update(count - self._bar.n)
        if count == total:
            self._sent_at = time()
            self._bar.set_description(f"{self._path.name}: sent, waiting for its turn")

    def heard(self, progress: Progress) -> None:
        """Show that the audio is text up to ``progress.end_s``."""
        if not self._has_text:
            self._has_text = True
            self._bar.bar_format = SECONDS
            self._bar.set_description(f"{self._path.name}: transcribing", refresh=False)
            self._bar.reset(progress.duration_s)
            self._bar.start_t = self._sent_at  # the first window took its time too
        self._bar.update(min(progress.end_s, progress.duration_s) - self._bar.n)

    def refused(self, reason: str) -> None:
        """Tell why the service refused the file for the moment; what follows is another attempt."""
        say(f"{self._path}: {reason}")
        self._bar.set_description(f"{self._path.name}: sending", refresh=False)
        self._bar.reset()

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._bar.close()


def say(line: str) -> None:
    """Write a line to stderr, above the bars."""
    tqdm.write(line, file=sys.stderr)
