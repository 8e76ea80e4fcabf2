"""Every error as the client sees it: counted, recorded where it is the service's, in OpenAI's shape."""

from __future__ import annotations

import logging

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ExceptionHandler

from deployments.ingress.http.state import service_of, state_of
from deployments.shared.errors import (
    AmanuensisError,
    ClientDisconnectedError,
    InternalError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
)
from deployments.shared.headers import RETRY_AFTER_HEADER, SHOULD_RETRY_HEADER

logger = logging.getLogger("ray.serve")


def note_failure(request: Request, error: AmanuensisError) -> None:
    """Count the error by its code; record it where it is the service that failed a request it had accepted.

    Do nothing if the end of the request was told already: it has one.
    """
    service, state = service_of(request), state_of(request)
    if state.record is None or not state.record.ended:
        service.tell_failure(error, state.record, state.request)


def note_abandoned(request: Request) -> None:
    """End a request that was cancelled, if its end was not told already: its client is gone."""
    note_failure(request, ClientDisconnectedError("The client closed the connection before its answer was complete"))


def error_response(error: AmanuensisError) -> Response:
    """Return the error as OpenAI's JSON document."""
    headers = {} if error.retry_after_s is None else {RETRY_AFTER_HEADER: f"{error.retry_after_s:.0f}"}
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
    """Return any exception as one that may be shown; what nobody foresaw is logged and hidden."""
    if isinstance(error, AmanuensisError):
        return error
    if isinstance(error, ClientDisconnect):
        return ClientDisconnectedError("The client closed the connection before its request was complete")
    if isinstance(error, HTTPException):
        return _from_starlette(request, error)
    return hidden_error(error, state_of(request).id)


def hidden_error(error: Exception, request_id: str) -> AmanuensisError:
    """Log what nobody foresaw, and return what may be shown of it."""
    logger.error("Request %s failed", request_id, exc_info=error)
    return InternalError("An internal error occurred; tell the operator this request's x-request-id")


def _from_starlette(request: Request, error: HTTPException) -> AmanuensisError:
    if error.status_code == NotFoundError.status:
        return NotFoundError(f"There is no {request.url.path}; see /docs")
    if error.status_code == MethodNotAllowedError.status:
        return MethodNotAllowedError(f"{request.url.path} does not answer {request.method}; see /docs")
    return InvalidRequestError(str(error.detail))


EXCEPTION_HANDLERS: dict[type[Exception], ExceptionHandler] = dict.fromkeys(
    (AmanuensisError, HTTPException, ClientDisconnect, Exception), _on_error
)
