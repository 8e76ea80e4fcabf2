"""Imports that Ray Serve makes where it can, and this service has no use for.

Serve imports pandas where it is installed, to encode data frames in answers, and WhisperX brings it along. That costs
each process of Serve 1.5 to 2 s of CPU at its start and 33 MB; without it Serve goes on without data frames.
"""

from __future__ import annotations

import sys

NEEDLESS = ("pandas",)

HOOK_VARIABLE = "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR"
"""Where Ray's workers look for a function to call before anything else. It is what ``worker_process_setup_hook``
of a runtime environment becomes; a runtime environment would reach neither Serve's controller nor its proxies."""

HOOK = "deployments.shared.lean_imports.leave_out"


def leave_out() -> None:
    """Let the needless modules be as if they were not installed, in this process, unless they are imported already."""
    for name in NEEDLESS:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None makes their import raise ImportError


def take_in() -> None:
    """Undo ``leave_out``: something needs them after all."""
    for name in NEEDLESS:
        if sys.modules.get(name, ...) is None:
            del sys.modules[name]
