"""``/failures``: the failure log, for operators. Plain functions, which Starlette runs in threads: they read files."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from deployments.ingress.failures.log import FailureLog
from deployments.ingress.failures.record import is_id
from deployments.ingress.http import operator_answers
from deployments.ingress.http.state import service_of
from deployments.shared.errors import InvalidRequestError, NotFoundError

NUMBER = re.compile(r"[1-9]\d{0,8}")
DEFAULT_PAGE = 100
MAX_PAGE = 1000
AUDIO_TYPE = "application/octet-stream"
"""Never the client's own type: a browser must not run what a client uploaded."""


def list_failures(request: Request) -> Response:
    failures, has_more = _log(request).page(_limit(request), _before(request))
    return operator_answers.FAILURE_LIST.response({"object": "list", "data": failures, "has_more": has_more})


def one_failure(request: Request) -> Response:
    """One route for both methods, so that ``Allow`` names both."""
    return _delete(request) if request.method == "DELETE" else _retrieve(request)


def _retrieve(request: Request) -> Response:
    failure = _log(request).get(_id(request))
    if failure is None:
        raise _unknown(request)
    return operator_answers.FAILURE.response(failure)


def retrieve_audio(request: Request) -> Response:
    audio = _log(request).audio(_id(request))
    if audio is None:
        raise NotFoundError(f"no audio is kept for {_id(request)}; failure_log_audio decides whether it is")
    return Response(audio, media_type=AUDIO_TYPE, headers={"content-disposition": "attachment"})


def _delete(request: Request) -> Response:
    if not _log(request).delete(_id(request)):
        raise _unknown(request)
    return operator_answers.FAILURE_DELETED.response({"id": _id(request), "deleted": True})


def _log(request: Request) -> FailureLog:
    return service_of(request).failures.log


def _id(request: Request) -> str:
    return str(request.path_params["failure"])


def _unknown(request: Request) -> NotFoundError:
    return NotFoundError(f"there is no failure {_id(request)}; GET /failures lists them")


def _limit(request: Request) -> int:
    limit = request.query_params.get("limit", str(DEFAULT_PAGE))
    if not NUMBER.fullmatch(limit) or int(limit) > MAX_PAGE:
        raise InvalidRequestError(f"limit must be a number from 1 to {MAX_PAGE}", param="limit")
    return int(limit)


def _before(request: Request) -> str | None:
    before = request.query_params.get("before")
    if before is not None and not is_id(before):
        raise InvalidRequestError("before must be the id of a failure", param="before")
    return before
