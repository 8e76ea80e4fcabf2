"""The facts that a report begins with: on which machine, commit and versions its figures were measured."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from loadtests.common.paths import ROOT

GIB = 2**30
PACKAGES = ("ray", "ctranslate2", "openvino")


def machine_facts(*packages: str) -> dict[str, Any]:
    """Return date, commit, machine and versions, for the head of a report; ``packages`` are named besides the usual."""
    return {
        "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": _git("rev-parse", "--short", "HEAD") or f"release {version('amanuensis')}",
        "changed_files": len(_git("status", "--porcelain").splitlines()),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in (*PACKAGES, *packages)},
    }


def describe_machine() -> str:
    """Return the processor, its cores and the memory, in words."""
    return f"{os.cpu_count()} cores of {_cpu_model()}, {psutil.virtual_memory().total / GIB:.1f} GiB"


def describe_commit(directory: Path) -> str:
    """Return the commit of a working tree, and how many of its files are changed."""
    changed = len(_git("status", "--porcelain", directory=directory).splitlines())
    commit = f"commit {_git('rev-parse', '--short', 'HEAD', directory=directory) or 'unknown'}"
    return f"{commit} with {changed} changed files" if changed else commit


def _git(*arguments: str, directory: Path = ROOT) -> str:
    """Return what git says of a source tree; nothing where this was installed from a wheel."""
    if not (directory / ".git").exists():
        return ""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout.strip()


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())
