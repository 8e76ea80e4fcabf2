"""What an answer of the service means: read from its bytes by one function, whichever client received them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from deployments.shared.errors import (
    DeadlineExceededError,
    OutOfSpaceError,
    OverloadedError,
    QueueFullError,
    QueueTimeoutError,
    RateLimitError,
    RequestCancelledError,
    StageTimeoutError,
    TooManyConcurrentRequestsError,
)
from deployments.shared.headers import REQUEST_ID_HEADER, SHOULD_RETRY_HEADER

Outcome = Literal["right", "wrong", "refused", "late", "error", "malformed", "no answer", "stuck", "hung up"]

NO_ANSWER = 0
DATA = "data: "
OK, BAD_REQUEST, INTERNAL, UNAVAILABLE, GATEWAY_TIMEOUT = 200, 400, 500, 503, 504

WRONG_TEXT, UNREADABLE, PROXY_PAGE = "wrong_text", "unreadable", "proxy_page"
REFUSALS = frozenset(
    error.code
    for error in (QueueFullError, OverloadedError, OutOfSpaceError, RateLimitError, TooManyConcurrentRequestsError)
)
"""Codes by which the service refuses: it, or this client, has too much under way."""

OUT_OF_TIME = frozenset(
    error.code for error in (DeadlineExceededError, StageTimeoutError, QueueTimeoutError, RequestCancelledError)
)
"""Codes by which the service tells that it let a request in and did not answer it in time."""

FAILED: frozenset[Outcome] = frozenset({"error", "malformed", "no answer", "stuck"})
"""Outcomes that are no transcript, and that neither the load nor the client explains."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request.

    Attributes:
        outcome: ``right`` and ``wrong`` texts; ``refused`` and ``late`` by the service's own words; any other ``error``
            of the service; ``malformed`` for a 200 that is no complete transcript; ``no answer`` for a connection that
            broke and for a page of the proxy; ``stuck`` when the client's patience ended; ``hung up`` by the client.
        status: HTTP status; ``NO_ANSWER`` where none came, 200 for an error inside a stream.
        text: the transcript; None if there is none.
        language: as the answer names it; empty where it does not.
        code: of an error, or the name of what broke; empty for a right text.
        message: the service's sentence about an error.
        retry_after_s: when the service says that a retry makes sense; None if it does not say.
        discourages_retry: whether the service says that a retry makes no sense.
        request_id: the id under which the service's log has the request.
    """

    outcome: Outcome
    status: int = NO_ANSWER
    text: str | None = None
    language: str = ""
    code: str = ""
    message: str = ""
    retry_after_s: float | None = None
    discourages_retry: bool = False
    request_id: str = ""


HUNG_UP = Reply("hung up")


def read_reply(
    status: int, headers: Mapping[str, str], body: bytes, *, streamed: bool = False, expected: str | None = None
) -> Reply:
    """Read and judge a complete answer.

    Args:
        headers: their names in lower case, or a mapping that ignores case.
        streamed: whether a transcript was asked for as a stream of events.
        expected: the text that the service gave for this audio before; None where any text is right.
    """
    document = _read_document(status, body, streamed=streamed)
    text, code, message = _text_of(document), _code_of(document), ""
    outcome: Outcome
    if code is not None:
        outcome, message = _classify_error(status, code), str(document["error"].get("message", ""))
    elif status != OK:
        outcome, text, code = "no answer", None, PROXY_PAGE
    elif text is None:
        outcome, code = "malformed", UNREADABLE
    elif expected in {None, text}:
        outcome, code = "right", ""
    else:
        outcome, code = "wrong", WRONG_TEXT
    return Reply(
        outcome,
        status,
        text,
        language=str(document.get("language") or ""),
        code=code,
        message=message,
        retry_after_s=_seconds(headers.get("retry-after")),
        discourages_retry=headers.get(SHOULD_RETRY_HEADER) == "false",
        request_id=headers.get(REQUEST_ID_HEADER, ""),
    )


def _read_document(status: int, body: bytes, *, streamed: bool) -> dict[str, Any]:
    """Return the JSON object that the answer is or ends with; an empty one where there is none."""
    try:
        document = _stream_end(body) if streamed and status == OK else json.loads(body)
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return document if isinstance(document, dict) else {}


def _stream_end(body: bytes) -> Any:
    """Return the event that ends a stream of server-sent events, once its deltas were found to give the same text.

    Raises:
        ValueError: there is no such event, or the deltas give another text.
    """
    lines = [line.removeprefix(DATA) for line in body.decode().split("\n\n") if line.startswith(DATA)]
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    last: dict[str, Any] = events[-1] if events else {}
    if last.get("type") == "error":
        return last
    if last.get("type") != "transcript.text.done" or "".join(event["delta"] for event in events[:-1]) != last["text"]:
        raise ValueError("The stream does not end as it should.")
    return last


def _text_of(document: dict[str, Any]) -> str | None:
    text = document.get("text")
    return None if text is None else str(text)


def _code_of(document: dict[str, Any]) -> str | None:
    error = document.get("error")
    return str(error["code"]) if isinstance(error, dict) and "code" in error else None


def _classify_error(status: int, code: str) -> Outcome:
    if code in REFUSALS:
        return "refused"
    return "late" if status == GATEWAY_TIMEOUT or code in OUT_OF_TIME else "error"


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and retry_after.isdecimal() else None
