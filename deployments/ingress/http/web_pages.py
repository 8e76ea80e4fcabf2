"""Which web pages may call the service, where the browser of somebody who may reach it runs them."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.ingress.http.access import refuse
from deployments.shared.errors import HostNotAllowedError, OriginNotAllowedError
from deployments.shared.headers import (
    DEVICE_HEADER,
    LIMIT_HEADER,
    LOCATION_HEADER,
    REMAINING_HEADER,
    REQUEST_ID_HEADER,
    RESET_HEADER,
    RETRY_AFTER_HEADER,
    SHOULD_RETRY_HEADER,
    WARNINGS_HEADER,
)
from deployments.shared.web_names import ANY, host_of

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
METHODS = ("GET", "POST", "DELETE")
SHOWN = (
    *(REQUEST_ID_HEADER, DEVICE_HEADER, WARNINGS_HEADER, RETRY_AFTER_HEADER, SHOULD_RETRY_HEADER, LOCATION_HEADER),
    *(LIMIT_HEADER, REMAINING_HEADER, RESET_HEADER),
)
"""The headers of an answer that scripts of an allowed page can read."""


def with_cors(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """Return ``app`` with the headers that let pages of these origins read its answers, errors too.

    It answers a browser's preflight by itself: that carries no key.
    """
    return CORSMiddleware(app, origins, METHODS, allow_headers=(ANY,), allow_private_network=True, expose_headers=SHOWN)


class ForeignPageGuard:
    """ASGI middleware of a service without API keys: refuses what a foreign page makes the user's browser send.

    Without keys, whoever reaches the service may do everything, and a browser reaches it for every page that it shows.
    A page can have its own name resolve to this machine, so that the browser takes the service for the page's own
    server and lets it read all answers. Such a request names that host, so only hosts are answered that no stranger can
    own: loopback names, IP addresses, and what the operator allows. Other pages cannot read, but post and delete; their
    browser says so in ``Origin`` or ``Sec-Fetch-Site``. Programs send neither of these.

    Args:
        app: what it protects.
        hosts: further names of this service.
        origins: of the pages that may call it.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], origins: Collection[str]) -> None:
        self._app = app
        self._hosts = LOOPBACK | set(hosts)
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            try:
                # A WebSocket begins as a GET.
                self._check(scope.get("method", "GET"), Headers(scope=scope))
            except (HostNotAllowedError, OriginNotAllowedError) as error:
                await refuse(error, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, method: str, headers: Headers) -> None:
        host = headers.get("host", "")  # HTTP/1.0 needs none, and no browser leaves it out
        if host and not is_allowed_host(host, self._hosts):
            raise HostNotAllowedError(
                "This service has no API keys, so it answers only to localhost, to IP addresses and to the names in "
                "allowed_hosts; use one of them, or ask the operator to add this name"
            )
        if not self._is_allowed_page(method, host, headers):
            raise OriginNotAllowedError(
                "This service has no API keys, so it refuses web pages of other origins; ask the operator to name "
                "this page's origin in cors_origins"
            )

    def _is_allowed_page(self, method: str, host: str, headers: Headers) -> bool:
        if ANY in self._origins:
            return True
        origin = headers.get("origin")
        if origin is not None:
            return origin in self._origins or origin.partition("://")[2].lower() == host.lower()
        return headers.get("sec-fetch-site") != "cross-site" or _is_followed_link(method, headers)


def is_allowed_host(authority: str, hosts: Collection[str]) -> bool:
    """Return whether a ``Host`` header names this service, and no name that a stranger could make resolve to it.

    Args:
        authority: the header, with or without a port.
        hosts: the names that are allowed; ``*`` among them allows all. IP addresses and the names below ``localhost``
            always are: neither can be anybody's domain.
    """
    host = host_of(authority)
    return host in hosts or ANY in hosts or host.endswith(".localhost") or _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_followed_link(method: str, headers: Headers) -> bool:
    """Return whether a person opens a page of the service from elsewhere, which shows it to nobody else."""
    return method == "GET" and headers.get("sec-fetch-dest") == "document"
