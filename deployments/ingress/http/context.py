"""What surrounds every request: its id, the upload limit, and errors in OpenAI's shape."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import cast

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from deployments.ingress.http.accepted import accepted_of
from deployments.ingress.service import TranscriptionService
from deployments.ingress.telemetry.record import RequestRecord
from deployments.shared.errors import (
    AmanuensisError,
    ClientDisconnectedError,
    InternalError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    PayloadTooLargeError,
    UploadTimeoutError,
)
from deployments.shared.headers import DEVICE_HEADER, REQUEST_ID_HEADER, SHOULD_RETRY_HEADER

REQUEST_ID = "^[A-Za-z0-9._:+/=@-]{1,128}$"
"""What a client may choose: it is written to logs and sent back."""

LINGER_S = 2.0
SMALL_BODY = 2**20
"""Bytes: a body that is refused is received all the same if it is no larger. That is cheaper than the new connection
which the next request would need behind HAProxy, and a client that reads no answer before it has sent all sees it.
"""

logger = logging.getLogger("ray.serve")


def service_of(request: Request) -> TranscriptionService:
    """The service that this application was made for."""
    return cast("TranscriptionService", request.app.state.service)


def request_id_of(request: Request) -> str:
    """As in the response's ``x-request-id``."""
    return cast("str", request.state.request_id)


def record_of(request: Request) -> RequestRecord | None:
    """None if the request is not for audio, or was refused before its route."""
    return getattr(request.state, "record", None)


def check_declared_length(request: Request) -> None:
    """Refuses an upload by its headers alone, before it is given a place in the queue.

    Raises:
        PayloadTooLargeError: the body will be larger than the limit.
    """
    limit = service_of(request).settings.max_upload_bytes
    if _declared_length(request.headers) > limit:
        raise _too_large(limit)


class RequestContext:
    """ASGI middleware: gives each request an id, names the encoder's device, bounds the body while it is read."""

    def __init__(self, app: ASGIApp, service: TranscriptionService) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked_id = headers.get(REQUEST_ID_HEADER)
        is_usable = asked_id is None or re.fullmatch(REQUEST_ID, asked_id)
        scope.setdefault("state", {})["request_id"] = (is_usable and asked_id) or uuid.uuid4().hex
        settings = self._service.settings
        body = _BoundedBody(receive, headers, settings.max_upload_bytes, settings.upload_timeout_s)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                response = MutableHeaders(scope=message)
                response[DEVICE_HEADER] = response.get(DEVICE_HEADER) or self._service.encoder_device or "unavailable"
                if body.cuts_off:
                    response["connection"] = "close"
                await send(message)
            elif not body.cuts_off or message.get("more_body", False):
                await send(message)
            else:
                await send({**message, "more_body": True})
                await body.discard()
                await send({"type": "http.response.body"})

        if not is_usable:
            message = f"{REQUEST_ID_HEADER} must be 1 to 128 letters, digits or . _ : + / = @ -"
            error = InvalidRequestError(message, param=REQUEST_ID_HEADER)
            self._service.failed(error)
            refusal = error_response(error)
            await refusal(scope, body.receive, send_with_headers)
        else:
            await self._app(scope, body.receive, send_with_headers)


class _BoundedBody:
    """A request's body, refused as soon as more was received than the limit, or when it takes too long.

    Attributes:
        complete: all of it was received, or there is none.
        cuts_off: to answer now ends the connection, because too much would still come, or nobody knows how much.
    """

    def __init__(self, receive: Receive, headers: Headers, limit: int, timeout_s: float) -> None:
        self._receive = receive
        self._limit = limit
        self._timeout_s = timeout_s
        self._until = asyncio.get_running_loop().time() + timeout_s
        self._received = 0
        self.complete = not _declared_length(headers) and "transfer-encoding" not in headers
        self._is_small = 0 < _declared_length(headers) <= min(limit, SMALL_BODY)

    @property
    def cuts_off(self) -> bool:
        return not self.complete and not self._is_small

    async def receive(self) -> Message:
        """ASGI's ``receive``.

        Raises:
            PayloadTooLargeError: the limit is passed.
            UploadTimeoutError: the body is not complete in time.
        """
        try:
            async with asyncio.timeout_at(None if self.complete else self._until):
                message = await self._next()
        except TimeoutError:
            self._is_small = False  # whatever it declared, waiting for it has an end
            raise _too_slow(self._timeout_s) from None
        if self._received > self._limit:
            raise _too_large(self._limit)
        return message

    async def discard(self) -> None:
        """Reads on a little, so that a client that is still sending gets to see the answer before it is cut off."""
        until = self._received + self._limit
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self.complete and self._received < until:
                    await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        return message


def _declared_length(headers: Headers) -> int:
    declared = headers.get("content-length", "0")
    return int(declared) if declared.isdecimal() else 0


def _too_large(limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"the upload is larger than {limit / 2**20:g} MiB; compress it (flac, mp3, ogg) or split it",
        param="file",
    )


def _too_slow(timeout_s: float) -> UploadTimeoutError:
    return UploadTimeoutError(
        f"the upload was not complete after {timeout_s:g} s; compress it (flac, mp3, ogg) or split it", param="file"
    )


def note_failure(request: Request, error: AmanuensisError) -> None:
    """Counts the error by its code; records it where it is the service that failed a request it had accepted."""
    service = service_of(request)
    service.failed(error, record_of(request))
    accepted = accepted_of(request)
    if accepted is not None and error.status >= InternalError.status:
        service.failures.record(accepted.failure(error, datetime.now(UTC)), accepted.asked.audio)


def error_response(error: AmanuensisError) -> Response:
    """The error as OpenAI's JSON document."""
    headers = {} if error.retry_after_s is None else {"retry-after": f"{error.retry_after_s:.0f}"}
    if error.discourages_retry:
        headers[SHOULD_RETRY_HEADER] = "false"
    return JSONResponse(error.body(), error.status, headers)


async def _on_error(request: Request, error: Exception) -> Response:
    known = as_amanuensis_error(request, error)
    note_failure(request, known)
    response = error_response(known)
    if isinstance(error, HTTPException):
        response.headers.update(error.headers or {})  # `Allow`, with a 405
    return response


def as_amanuensis_error(request: Request, error: Exception) -> AmanuensisError:
    """Any exception as one that may be shown; what nobody foresaw is logged and hidden."""
    if isinstance(error, AmanuensisError):
        return error
    if isinstance(error, ClientDisconnect):
        return ClientDisconnectedError("the client closed the connection before its request was complete")
    if isinstance(error, HTTPException):
        return _from_starlette(request, error)
    logger.error("request %s failed", request_id_of(request), exc_info=error)
    return InternalError("an internal error occurred; tell the operator this request's x-request-id")


def _from_starlette(request: Request, error: HTTPException) -> AmanuensisError:
    if error.status_code == NotFoundError.status:
        return NotFoundError(f"there is no {request.url.path}; see /docs")
    if error.status_code == MethodNotAllowedError.status:
        return MethodNotAllowedError(f"{request.url.path} does not answer {request.method}; see /docs")
    return InvalidRequestError(str(error.detail))


EXCEPTION_HANDLERS: dict[type[Exception], ExceptionHandler] = dict.fromkeys(
    (AmanuensisError, HTTPException, ClientDisconnect, Exception), _on_error
)
