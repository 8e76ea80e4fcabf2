"""What a benchmark says while it runs, and where its report goes."""

from __future__ import annotations

import sys
from pathlib import Path


def say(text: str) -> None:
    """Tell who waits what is measured now."""
    sys.stderr.write(f"{text}\n")


def publish(report: str, output: Path | None) -> None:
    """Print a report, and write it to the file ``output`` too, if there is one."""
    sys.stdout.write(report)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(report, encoding="utf-8")
