"""What the application knows of an HTTP request while it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from starlette.requests import HTTPConnection
from starlette.types import Scope

from deployments.ingress.clients.key_file import ANONYMOUS
from deployments.ingress.http.body import BoundedBody
from deployments.ingress.request import Request
from deployments.ingress.service import TranscriptionService
from deployments.ingress.telemetry.record import RequestRecord

KEY = "amanuensis"


@dataclass(slots=True)
class RequestState:
    """Made by the outermost middleware; each layer adds what it finds out.

    Attributes:
        id: as in the response's ``x-request-id``.
        body: as it comes in.
        client: name of the API key; ``anonymous`` where there is none, or before it is looked up.
        operator: the key is an operator's, or everybody may do everything because there are no keys.
        record: what becomes of it; None if it is not for audio, or was refused before its route.
        request: the request once its form has been read; from then on it is answered or its failure is recorded.
    """

    id: str
    body: BoundedBody
    client: str = ANONYMOUS
    operator: bool = False
    record: RequestRecord | None = None
    request: Request | None = None


def set_state(scope: Scope, state: RequestState) -> None:
    """Keep the state with the request's ASGI scope."""
    scope.setdefault("state", {})[KEY] = state


def state_of(connection: HTTPConnection) -> RequestState:
    """Return the state of a request."""
    return cast("RequestState", connection.scope["state"][KEY])


def service_of(connection: HTTPConnection) -> TranscriptionService:
    """Return the service that this application was made for."""
    return cast("TranscriptionService", connection.app.state.service)
