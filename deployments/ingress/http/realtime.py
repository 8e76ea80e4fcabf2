"""``/v1/realtime``: live transcription over a WebSocket, as OpenAI's realtime API has it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from deployments.ingress.http.access import refuse
from deployments.ingress.http.state import service_of, state_of
from deployments.ingress.live.configuration import Configuration, Dialect
from deployments.ingress.live.connection import Connection
from deployments.ingress.live.outbox import Outbox
from deployments.ingress.live.session import Session, SessionLimits, Surroundings
from deployments.ingress.live.transcriber import Transcriber
from deployments.ingress.service import TranscriptionService
from deployments.shared.errors import (
    AmanuensisError,
    LiveSessionsFullError,
    NotFoundError,
    UnsupportedParameterError,
    UpgradeRequiredError,
)
from deployments.shared.headers import BETA_HEADER
from deployments.shared.settings import Settings

INTENT: Final = "transcription"
PROTOCOL: Final = "realtime"
BETA_PROTOCOL: Final = "openai-beta.realtime-v1"
BETA_VALUE: Final = "realtime=v1"

NORMAL: Final = 1000
CLOSE_S: Final = 5.0
"""Seconds in which a client that is there takes note of the end."""


async def realtime(socket: WebSocket) -> None:
    """Transcribe what somebody says, until they end or have to."""
    service = service_of(socket)
    try:
        configuration = _asked_configuration(socket, service)
        service.refuse_if_broken()
        with service.live.enter(service.settings.max_live_sessions):
            await socket.accept(PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)
            reason = await _connection(socket, service, configuration).run()
            await _close(socket, reason)
    except AmanuensisError as error:
        await refuse(error, socket.scope, socket.receive, socket.send)
        return
    if reason is not None:
        service.sinks.failed(reason)


async def upgrade_required(http: Request) -> Response:
    """Tell a client that asks without a WebSocket what this route is for.

    Raises:
        UpgradeRequiredError: always.
    """
    raise UpgradeRequiredError(
        f"{http.url.path} is a WebSocket; connect with ws:// or wss://, or let your proxy pass upgrades"
    )


async def unknown_socket(socket: WebSocket) -> None:
    """Refuse a WebSocket on any other path."""
    error = NotFoundError(f"There is no WebSocket {socket.url.path}; see /docs")
    await refuse(error, socket.scope, socket.receive, socket.send)


class _StarletteSocket:
    """Starlette's WebSocket as a session's connection needs it."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def receive(self) -> str | bytes | None:
        """Return the next message; None when the client is gone."""
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        text: str | None = message.get("text")
        return message["bytes"] if text is None else text

    async def send(self, text: str) -> None:
        """Send an event."""
        try:
            await self._socket.send_text(text)
        except (WebSocketDisconnect, RuntimeError):  # it has closed, and perhaps that was noted already
            raise ConnectionResetError from None


def _asked_configuration(socket: WebSocket, service: TranscriptionService) -> Configuration:
    """Return what the session is to do at first.

    Raises:
        UnsupportedParameterError, ModelNotFoundError, LiveSessionsFullError: it is none for this service.
    """
    if not service.settings.max_live_sessions:
        raise LiveSessionsFullError.too_many(0)
    intent, model = socket.query_params.get("intent", INTENT), socket.query_params.get("model")
    if intent != INTENT:
        raise UnsupportedParameterError(f"Only transcription is served here; send intent={INTENT}", param="intent")
    service.require_model(model)
    return Configuration().updated({"input_audio_transcription": {"model": model or service.model.name}}, is_beta=True)


def _connection(socket: WebSocket, service: TranscriptionService, configuration: Configuration) -> Connection:
    outbox = Outbox()
    transcriber = Transcriber(service, state_of(socket).client, socket.headers.get("traceparent"))
    around = Surroundings(transcriber, service.live.voice, outbox, service.statistics.live)
    limits = _limits(service.settings)
    session = Session(around, limits, configuration, _dialect(socket))
    return Connection(_StarletteSocket(socket), session, outbox, limits, service.live.stopping)


def _limits(settings: Settings) -> SessionLimits:
    return SessionLimits(
        settings.max_live_ahead_s,
        settings.max_live_buffer_s,
        settings.max_live_session_s,
        settings.live_idle_timeout_s,
    )


def _dialect(socket: WebSocket) -> Dialect:
    is_beta = BETA_PROTOCOL in socket.scope["subprotocols"] or socket.headers.get(BETA_HEADER) == BETA_VALUE
    return "beta" if is_beta else "ga"


async def _close(socket: WebSocket, reason: AmanuensisError | None) -> None:
    """Close the socket, if it is still open, and say why."""
    code = NORMAL if reason is None else reason.close_code
    # A client that does not read does not see this either.
    with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
        async with asyncio.timeout(CLOSE_S):
            await socket.close(code, None if reason is None else reason.code)
