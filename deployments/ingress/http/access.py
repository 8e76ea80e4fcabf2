"""Who may call, and how often: API keys and the limits of each client, checked before anything of a body is read.

In this order: 401 without a key, 403 without an operator's key (where there are no keys, 403 for a foreign web page:
``web_pages.py``), 404 and 405 by the router, 429 past a limit, 413 and 400 for what the headers say, 503 when the queue
is full.

Clients without a key are one client, ``anonymous``. Their address would not tell them apart: behind Serve's HAProxy
every connection comes from HAProxy, which adds no ``X-Forwarded-For`` and passes on whatever a client wrote there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.ingress.clients.key_file import ANONYMOUS, Client, KeyFile
from deployments.ingress.clients.limits import ClientLimits, Quota
from deployments.ingress.http.errors import error_response
from deployments.ingress.http.state import service_of, state_of
from deployments.shared.errors import AmanuensisError, AuthenticationError, PermissionDeniedError, RateLimitError
from deployments.shared.headers import LIMIT_HEADER, REMAINING_HEADER, RESET_HEADER

SCHEME = "Bearer"

KEY_PROTOCOL = "openai-insecure-api-key."
"""Before the key, where it comes among the protocols of a WebSocket; the name is OpenAI's."""

STARTS = frozenset({"http.response.start", "websocket.http.response.start", "websocket.accept"})
BODIES = frozenset({"http.response.body", "websocket.http.response.body"})


class Authentication:
    """ASGI middleware around the router: leaves who calls in the request's state.

    Args:
        app: what it protects.
        keys: None lets everybody call everything.
        public: routes that need no key.
        operator: routes that need an operator's key. Any other path, known or not, needs any key.
    """

    def __init__(
        self, app: ASGIApp, keys: KeyFile | None, public: Sequence[BaseRoute], operator: Sequence[BaseRoute]
    ) -> None:
        self._app = app
        self._keys = keys
        self._public = public
        self._operator = operator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            client = self._client(scope)
        except (AuthenticationError, PermissionDeniedError) as error:
            await refuse(error, scope, receive, send)
            return
        state = state_of(HTTPConnection(scope))
        state.client, state.operator = client.name, client.operator
        await self._app(scope, receive, send)

    def _client(self, scope: Scope) -> Client:
        if self._keys is None or _leads_to(self._public, scope):
            return Client(ANONYMOUS, operator=self._keys is None)
        client = self._keys.client_of(_token(scope))
        if client is None:
            raise AuthenticationError("This API key is not known here; ask the operator of the service for one")
        if not client.operator and _leads_to(self._operator, scope):
            raise PermissionDeniedError("This needs the key of an operator")
        return client


class RateLimiting:
    """ASGI middleware of a route: a request counts as running until the end of its answer, streamed or not, or until
    it breaks off; a WebSocket until it is closed. Answers, refusals too, tell the client where it stands.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits: ClientLimits = scope["app"].state.limits
        client = state_of(HTTPConnection(scope)).client
        running = ExitStack()

        async def send_with_quota(message: Message) -> None:
            if message["type"] in STARTS:
                MutableHeaders(scope=message).update(_quota_headers(limits.quota(client)))
            elif message["type"] in BODIES and not message.get("more_body", False):
                running.close()  # before the client can see the end and send its next request
            await send(message)

        try:
            with running:
                running.enter_context(limits.enter(client))
                await self._app(scope, receive, send_with_quota)
        except RateLimitError as error:
            await refuse(error, scope, receive, send_with_quota)


def _quota_headers(quota: Quota | None) -> dict[str, str]:
    """Return the headers as OpenAI names them, the reset in whole seconds; none where there is no rate limit."""
    if quota is None:
        return {}
    return {
        LIMIT_HEADER: str(quota.limit),
        REMAINING_HEADER: str(quota.remaining),
        RESET_HEADER: f"{math.ceil(quota.reset_s)}s",
    }


def _leads_to(routes: Sequence[BaseRoute], scope: Scope) -> bool:
    """Return whether the path is that of one of the routes, whatever the method."""
    return any(route.matches(scope)[0] is not Match.NONE for route in routes)


def _token(scope: Scope) -> str:
    """Return the key that comes with a request. A browser cannot set the headers of a WebSocket, but its protocols."""
    headers = Headers(scope=scope)
    for protocol in scope.get("subprotocols", ()):
        if protocol.startswith(KEY_PROTOCOL) and "authorization" not in headers:
            return str(protocol.removeprefix(KEY_PROTOCOL))
    return _bearer_token(headers)


def _bearer_token(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != SCHEME.lower() or not token.strip():
        raise AuthenticationError("This service needs an API key; send the header `Authorization: Bearer KEY`")
    return token.strip()


async def refuse(error: AmanuensisError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with an error that was found before the route could answer, and count it.

    A WebSocket is refused as the HTTP request that it begins as, before it is one.
    """
    service_of(HTTPConnection(scope)).sinks.failed(error)
    response = error_response(error)
    if isinstance(error, AuthenticationError):
        response.headers["www-authenticate"] = SCHEME
    await response(scope, receive, send)
