"""Addresses that a service listens on, and how this machine reaches it there."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from deployments.shared.errors import ConfigurationError

LOOPBACK: Final = "127.0.0.1"


def resolved(host: str) -> tuple[socket.AddressFamily, str]:
    """Return the family and the address that a host is.

    Raises:
        ConfigurationError: it is no address of this machine's, and no name that is known here.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"http_options.host {host!r} is neither an address nor a known name") from error
    return family, str(address[0])


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a service that listens there."""
    return ipaddress.ip_address(resolved(host)[1]).is_loopback


def url_host(host: str) -> str:
    """Return the host as this machine writes it in a URL to reach what listens there."""
    address = ipaddress.ip_address(resolved(host)[1])
    if address.is_unspecified or str(address) == LOOPBACK:
        return "localhost" if address.version == 4 else "[::1]"  # noqa: PLR2004
    return f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004
