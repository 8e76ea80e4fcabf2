"""The ports that a service listens on, and who else does."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import psutil

from deployments.commands.configuration import Configuration
from deployments.commands.errors import CommandError
from deployments.commands.launch.addresses import LOOPBACK, resolved

HTTP_VARIABLE: Final = "http_options.port"
DASHBOARD_VARIABLE: Final = "AMANUENSIS_DASHBOARD_PORT"
USUAL: Final = 9000
"""The service's usual port: Ray's own default ports belong to it, and those of another port are as far from it."""

INNER_PORTS: Final = {
    "RAY_SERVE_HAPROXY_STATS_PORT": (8404, "HAProxy's statistics"),
    "RAY_SERVE_HAPROXY_METRICS_PORT": (9101, "HAProxy's metrics"),
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": (8500, "Serve's fallback proxy"),
    DASHBOARD_VARIABLE: (8265, "Ray's dashboard"),
}
"""The variables that name the other ports, what Ray has without them, and what they are for."""

LOWEST: Final = 1024
HIGHEST: Final = 65535


@dataclass(frozen=True, slots=True)
class Port:
    """A port that the service needs.

    Attributes:
        variable: what names it.
        purpose: what it is for.
    """

    number: int
    host: str
    variable: str
    purpose: str


def inner_ports(port: int, environment: Mapping[str, str]) -> dict[str, int]:
    """Return the service's other ports by the variables that name them.

    Two services on two HTTP ports have different ones. A variable that is set wins.

    Raises:
        CommandError: a variable is no number of a port.
    """
    return {
        variable: _number(variable, environment[variable]) if environment.get(variable) else _beside(port, default)
        for variable, (default, _) in INNER_PORTS.items()
    }


def ports_of(config: Configuration, inner: Mapping[str, int]) -> Iterator[Port]:
    """Yield every port that a service needs."""
    yield Port(config.port, config.host, HTTP_VARIABLE, "HTTP")
    for variable, number in inner.items():
        yield Port(number, LOOPBACK, variable, INNER_PORTS[variable][1])


def check(port: Port) -> None:
    """Refuse to start where somebody else listens.

    Raises:
        CommandError: the port cannot be used; the message says why, who holds it, and what names another one.
    """
    family, address = resolved(port.host)
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port.number))
            probe.listen()
        except OSError as error:
            raise CommandError(_reason(port, error)) from error


def _reason(port: Port, error: OSError) -> str:
    what = f"Port {port.number} of {port.host}, for {port.purpose},"
    if error.errno == errno.EADDRINUSE:
        return f"{what} is taken by {holder(port.number)}; end it, or name another port with {port.variable}"
    if error.errno == errno.EACCES:
        return f"{what} needs rights that this user lacks; name another port with {port.variable}"
    return f"{what} cannot be used: {os.strerror(error.errno or errno.EIO)}"


def holder(port: int) -> str:
    """Return who listens on a port, for a person."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            return _told(connection.pid)
    return "another process"


def _told(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        process = psutil.Process(pid)
        return f"process {pid} ({' '.join(process.cmdline())[:100] or process.name()})"
    except psutil.Error:
        return f"process {pid}"


def _beside(port: int, default: int) -> int:
    number = port + default - USUAL
    return number if LOWEST <= number <= HIGHEST else default


def _number(variable: str, text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) <= HIGHEST:
        return int(text)
    raise CommandError(f"{variable} must be the number of a port, not {text!r}")
