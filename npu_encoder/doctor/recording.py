"""A machine written down: what the doctor read of it, as one text file that can be sent and read again.

The file is a list of sections, each with a heading and what was found below it::

    === python 3.13 /opt/amanuensis/.venv
    /usr/lib/python3/dist-packages
    === file /proc/cmdline
    quiet splash
    === names /dev/accel
    accel0
    === use /dev/accel/accel0
    yes
    === command xrt-smi examine
    ...

What was not found has no section.
"""

from __future__ import annotations

import re
from collections import defaultdict

from npu_encoder.doctor.facts import KERNEL_LOGS
from npu_encoder.doctor.machine import Interpreter, Machine

HEADING = "=== "
YES = "yes"

KEPT_OF_LOGS = re.compile(r"amdxdna|amdnpu|AMD-Vi|iommu|Loading of", re.IGNORECASE)
"""A kernel's log says much that is nobody's business."""


class RecordedMachine:
    """The machine of a record. Text before the first heading says where it comes from.

    Raises:
        ValueError: if the record does not say which Python ran.
    """

    def __init__(self, record: str) -> None:
        self._sections: dict[str, str] = {}
        for section in f"\n{record}".split(f"\n{HEADING}")[1:]:
            heading, _, content = section.partition("\n")
            self._sections[heading.strip()] = content
        headings = [heading for heading in self._sections if heading.startswith("python ")]
        if len(headings) != 1:
            raise ValueError(f"The record has {len(headings)} sections about Python instead of one")
        _, version, prefix = headings[0].split(maxsplit=2)
        major, minor = version.split(".")
        path = tuple(self._sections[headings[0]].split())
        self._interpreter = Interpreter((int(major), int(minor)), path, prefix)

    @property
    def interpreter(self) -> Interpreter:
        """The Python that ran the doctor."""
        return self._interpreter

    def read(self, path: str) -> str | None:
        """Return the content of a recorded file."""
        return self._sections.get(f"file {path}")

    def names(self, directory: str, prefix: str = "") -> tuple[str, ...]:
        """Return recorded names of a directory."""
        names = self._sections.get(f"names {directory}", "").split()
        return tuple(name for name in names if name.startswith(prefix))

    def may_use(self, path: str) -> bool:
        """Return whether the user might read and write the file."""
        return self._sections.get(f"use {path}", "").strip() == YES

    def run(self, command: str) -> str | None:
        """Return the recorded output of a command."""
        return self._sections.get(f"command {command}")


class Recorder:
    """A machine that remembers what was asked of another one: ``record`` is the text of it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        python = machine.interpreter
        self._sections = {f"python {python.name} {python.prefix}": "\n".join(python.path)}
        self._names: dict[str, set[str]] = defaultdict(set)

    @property
    def record(self) -> str:
        """All sections so far."""
        names = {f"names {directory}": "\n".join(sorted(found)) for directory, found in self._names.items()}
        sections = self._sections | names
        return "".join(f"{HEADING}{heading}\n{content.rstrip()}\n" for heading, content in sections.items())

    @property
    def interpreter(self) -> Interpreter:
        """The Python of the other machine."""
        return self._machine.interpreter

    def read(self, path: str) -> str | None:
        """Read and remember a file."""
        content = self._machine.read(path)
        if content is not None:
            self._sections[f"file {path}"] = content
        return content

    def names(self, directory: str, prefix: str = "") -> tuple[str, ...]:
        """List and remember names in a directory."""
        names = self._machine.names(directory, prefix)
        if names:
            self._names[directory].update(names)
        return names

    def may_use(self, path: str) -> bool:
        """Try and remember the rights on a file."""
        usable = self._machine.may_use(path)
        if usable:
            self._sections[f"use {path}"] = YES
        return usable

    def run(self, command: str) -> str | None:
        """Run a command and remember its output."""
        output = self._machine.run(command)
        if output is None:
            return None
        if command in KERNEL_LOGS:
            output = "\n".join(line for line in output.splitlines() if KEPT_OF_LOGS.search(line))
        self._sections[f"command {command}"] = output
        return output
