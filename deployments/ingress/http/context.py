"""What surrounds every request: its id, the encoder's device in the answer, a bounded body."""

from __future__ import annotations

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.ingress.http.access import STARTS
from deployments.ingress.http.body import BoundedBody, UploadPace
from deployments.ingress.http.errors import error_response
from deployments.ingress.http.state import RequestState, set_state
from deployments.ingress.service import TranscriptionService
from deployments.shared.errors import InvalidRequestError
from deployments.shared.headers import DEVICE_HEADER, REQUEST_ID_HEADER

REQUEST_ID = "^[A-Za-z0-9._:+/=@-]{1,128}$"
"""What a client may choose: it is written to logs and sent back."""


class RequestContext:
    """ASGI middleware that gives each request an id, names the encoder's device, bounds the body while it is read."""

    def __init__(self, app: ASGIApp, service: TranscriptionService) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked_id = headers.get(REQUEST_ID_HEADER)
        is_usable = asked_id is None or re.fullmatch(REQUEST_ID, asked_id)
        settings = self._service.settings
        pace = UploadPace(settings.upload_timeout_s, settings.upload_timeout_s * settings.min_upload_bytes_per_s)
        body = BoundedBody(receive, headers, settings.max_upload_bytes, pace)
        state = RequestState((is_usable and asked_id) or uuid.uuid4().hex, body)
        set_state(scope, state)
        if scope["type"] == "websocket":
            take, answer = receive, self._with_names(send, state.id)
        else:
            take, answer = body.receive, self._with_end(send, body)
        if is_usable:
            await self._app(scope, take, answer)
            return
        message = f"{REQUEST_ID_HEADER} must be 1 to 128 letters, digits or . _ : + / = @ -"
        error = InvalidRequestError(message, param=REQUEST_ID_HEADER)
        self._service.sinks.failed(error)
        await error_response(error)(scope, take, answer)

    @property
    def _device(self) -> str:
        return self._service.encoder.device or "unavailable"

    def _with_end(self, send: Send, body: BoundedBody) -> Send:
        """Return ``send`` for a request: it names the device, and ends the connection where the body goes on."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                response = MutableHeaders(scope=message)
                response[DEVICE_HEADER] = response.get(DEVICE_HEADER) or self._device
                if body.cuts_off:
                    response["connection"] = "close"
                await send(message)
            elif not body.cuts_off or message.get("more_body", False):
                await send(message)
            else:
                await send({**message, "more_body": True})
                await body.discard()
                await send({"type": "http.response.body"})

        return send_with_headers

    def _with_names(self, send: Send, request_id: str) -> Send:
        """Return ``send`` for a WebSocket: it names the device, and the id, which Serve does for other requests."""

        async def send_with_names(message: Message) -> None:
            if message["type"] in STARTS:
                response = MutableHeaders(scope=message)
                response[REQUEST_ID_HEADER], response[DEVICE_HEADER] = request_id, self._device
            await send(message)

        return send_with_names
