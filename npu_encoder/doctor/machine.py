"""All that the doctor reads of a machine: files, directories, outputs of commands, and the Python it runs in."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

COMMAND_TIMEOUT_S: Final = 20.0
NO_ANSWER: Final = f"(no answer within {COMMAND_TIMEOUT_S:g} s)"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that runs the service.

    Attributes:
        version: major and minor.
        path: the directories in which it looks for modules.
        prefix: the directory of its environment.
    """

    version: tuple[int, int]
    path: tuple[str, ...]
    prefix: str

    @property
    def name(self) -> str:
        """How people call it: ``3.13``."""
        return f"{self.version[0]}.{self.version[1]}"


class Machine(Protocol):
    """A machine as the checks see it. Nothing of it fails: what is not there is None, empty or False."""

    @property
    def interpreter(self) -> Interpreter:
        """The Python that runs the service."""
        ...

    def read(self, path: str) -> str | None:
        """Return the content of a file; None if it is not there or not readable."""
        ...

    def names(self, directory: str, prefix: str = "") -> tuple[str, ...]:
        """Return the names in a directory that begin like this, sorted; none if there is no such directory."""
        ...

    def may_use(self, path: str) -> bool:
        """Return whether this user may read and write a file."""
        ...

    def run(self, command: str) -> str | None:
        """Return what a command writes to both outputs; None if it is not installed."""
        ...


class LocalMachine:
    """The machine on which this process runs."""

    @property
    def interpreter(self) -> Interpreter:
        """This process' Python."""
        return Interpreter(sys.version_info[:2], tuple(sys.path), sys.prefix)

    def read(self, path: str) -> str | None:
        """Return the content of a file, see ``Machine``."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def names(self, directory: str, prefix: str = "") -> tuple[str, ...]:
        """Return names in a directory, see ``Machine``."""
        try:
            return tuple(sorted(path.name for path in Path(directory).iterdir() if path.name.startswith(prefix)))
        except OSError:
            return ()

    def may_use(self, path: str) -> bool:
        """Return whether this user may read and write a file, see ``Machine``."""
        return os.access(path, os.R_OK | os.W_OK)

    def run(self, command: str) -> str | None:
        """Run a command in English, see ``Machine``."""
        environment: Mapping[str, str] = {**os.environ, "LC_ALL": "C"}
        try:
            done = subprocess.run(  # noqa: S603  (the checks name the commands, no input does)
                shlex.split(command),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                timeout=COMMAND_TIMEOUT_S,
                env=environment,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return NO_ANSWER
        except OSError:
            return None
        return done.stdout.decode("utf-8", errors="replace")
