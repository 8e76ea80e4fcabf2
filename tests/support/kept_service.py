"""A service of dummies that a keeper keeps: ``python -m tests.support.kept_service DIRECTORY [never-ready]``.

Its processes are as hard to end as Ray's: some are orphans, in sessions of their own, deaf to every signal that a
process can be deaf to. Each writes its number into the directory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from deployments.commands.launch.family import end_descendants
from deployments.commands.launch.keeper import keep

DUMMY = """
import os, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if sys.argv[2] == "orphan":
    if os.fork():
        os._exit(0)
    os.setsid()
open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
time.sleep(1000)
"""
LEFT = "left"
"""File that only a process that tidies up removes."""


def main() -> None:
    directory = Path(sys.argv[1])
    (directory / "keeper").write_text(str(os.getpid()), encoding="ascii")
    orders = keep((directory / LEFT).unlink)
    orders.places = [directory / "places"]
    (directory / "serving").write_text(str(os.getpid()), encoding="ascii")
    for kind in ("child", "orphan"):
        subprocess.Popen([sys.executable, "-c", DUMMY, str(directory), kind])
    while sum(path.name.isdigit() for path in directory.iterdir()) < 2:
        time.sleep(0.01)
    if sys.argv[2:] != ["never-ready"]:
        orders.accepting()
    (directory / "ready").touch()
    orders.stop.wait()
    (directory / "draining").touch()
    time.sleep(0.5 if sys.argv[2:] != ["slow"] else 1000)
    end_descendants()
    (directory / LEFT).unlink()


if __name__ == "__main__":
    main()
