"""How a benchmark was called, as its page shows it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path


def shown_command(prog: str, shown: Mapping[str, str]) -> str:
    """Return this process' command as another machine would be given it: without this one's paths.

    Args:
        prog: what stands before the arguments.
        shown: path -> what is shown instead.
    """
    return " ".join([prog, *(shown.get(str(Path(word))) or _short(word) for word in sys.argv[1:])])


def _short(word: str) -> str:
    return Path(word).name if Path(word).is_absolute() else shlex.quote(word)
