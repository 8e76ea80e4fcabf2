"""What is changed in the configuration that Serve writes for HAProxy.

Serve's own has statistics and metrics on every interface, a control socket that every user of the machine may use, no
limit on the time that a client may take to send its headers, and pages of plain text that a client does not retry.
"""

from __future__ import annotations

import re
from pathlib import Path

HEADERS_S = 10
"""Seconds that a client may take to send its headers. Serve has no limit: a few thousand idle connections would keep
everybody out."""

_ROUTE = re.compile(r"^\s+use_backend ", re.MULTILINE)
_CONTROL_SOCKET = re.compile(r"^(\s+stats socket \S+) mode \d+", re.MULTILINE)
_STATISTICS = re.compile(r"^(frontend prometheus|listen stats)\n(\s+bind )(?:\*|)(:\d+)$", re.MULTILINE)
_DEFAULTS = re.compile(r"^defaults\n(?:.*\n)*?    mode http\n", re.MULTILINE)
_ERROR_PAGE = re.compile(r"^(\s+errorfile 50[234]) \S+$", re.MULTILINE)
_NO_ROUTE = re.compile(r"^(backend default_backend\n)\s+http-request return status 404 .*$", re.MULTILINE)
_FRONT = re.compile(r"^(frontend http_frontend\n\s+bind )\S+:(\d+)$", re.MULTILINE)


class UnknownConfigurationError(Exception):
    """The configuration is not as this module knows it, so it cannot be made safe."""


def has_routes(text: str) -> bool:
    """Tell whether the configuration leads to any application."""
    return bool(_ROUTE.search(text))


def hardened(text: str, *, statistics_host: str, error_page: Path, host: str | None) -> str:
    """Return the configuration with what Serve leaves open closed.

    Args:
        text: as Serve wrote it.
        statistics_host: the address that HAProxy's statistics and metrics listen on.
        error_page: what is sent when no replica can be reached, or no route is known yet: a whole HTTP response.
        host: the address or name to listen on; None: what Serve was told.

    Raises:
        UnknownConfigurationError: a part that must be changed is not there.
    """
    text = _changed(_CONTROL_SOCKET, r"\g<1> mode 600", text, count=1)
    text = _changed(_STATISTICS, rf"\g<1>\n\g<2>{statistics_host}\g<3>", text, count=2)
    text = _changed(_DEFAULTS, rf"\g<0>    timeout http-request {HEADERS_S}s\n", text, count=1)
    text = _changed(_ERROR_PAGE, rf"\g<1> {error_page}", text, count=3)
    if not has_routes(text):
        # A 404 would be believed: Serve has only not told HAProxy yet where its applications are.
        text = _changed(_NO_ROUTE, rf"\g<1>    http-request return status 503 errorfile {error_page}", text, count=1)
    return text if host is None else _changed(_FRONT, rf"\g<1>{_bound(host)}", text, count=1)


def _bound(host: str) -> str:
    """Return what follows ``bind``, with a reference to the port; "::" means any address, of IPv4 too."""
    if host == "::":
        return r":::\g<2> v4v6"
    return rf"[{host}]:\g<2>" if ":" in host else rf"{host}:\g<2>"


def with_control_socket(text: str, socket: Path) -> str:
    """Return the configuration with another control socket."""
    return _changed(re.compile(r"^(\s+stats socket )\S+", re.MULTILINE), rf"\g<1>{socket}", text, count=1)


def control_socket(text: str) -> Path:
    """Return the control socket that the configuration names.

    Raises:
        UnknownConfigurationError: it names none.
    """
    found = re.search(r"^\s+stats socket (\S+)", text, re.MULTILINE)
    if found is None:
        raise UnknownConfigurationError("HAProxy's configuration names no control socket")
    return Path(found.group(1))


def _changed(pattern: re.Pattern[str], replacement: str, text: str, *, count: int) -> str:
    text, changes = pattern.subn(replacement, text)
    if changes != count:
        raise UnknownConfigurationError(
            f"Ray Serve's configuration of HAProxy is not as this version of the service knows it ({changes} of "
            f"{count} places match {pattern.pattern!r}); install the Ray that requirements.lock names"
        )
    return text
