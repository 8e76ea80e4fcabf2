"""What an answer means."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from deployments.shared.errors import QueueTimeoutError
from loadtests.load.scenarios.traffic import Kind

Outcome = Literal["right", "wrong", "refused", "late", "error", "hung up"]
OK, TOO_MANY, UNAVAILABLE, LATE = 200, 429, 503, 504
OVERLOAD = frozenset({"queue_full", "overloaded", "out_of_space", "rate_limit_exceeded"})


@dataclass(frozen=True)
class Answer:
    """One answer, read.

    Attributes:
        code: of an error; empty for a right text.
        text: the transcript; None if there is none.
    """

    outcome: Outcome
    code: str = ""
    text: str | None = None


def read(kind: Kind, status: int, body: bytes, expected: str | None) -> Answer:
    """What the service said; ``expected`` is the text it gave before, None where this is the first time."""
    try:
        document = _stream_end(body) if kind == "stream" and status == OK else json.loads(body)
        if "error" in document:
            return _refusal(status, str(document["error"]["code"]))
        text = str(document["text"])
    except (ValueError, KeyError, TypeError):
        return Answer("error", f"unreadable {status}")
    return Answer("right", text=text) if expected in {None, text} else Answer("wrong", "wrong_text", text)


def _refusal(status: int, code: str) -> Answer:
    if status == LATE or code == QueueTimeoutError.code:
        return Answer("late", code)
    return Answer("refused" if status in {TOO_MANY, UNAVAILABLE} and code in OVERLOAD else "error", code)


def _stream_end(body: bytes) -> dict[str, Any]:
    """The event that ends a stream of server-sent events, once its deltas were found to give the same text.

    Raises:
        ValueError: no such event, or other deltas.
    """
    events = [json.loads(line.removeprefix("data: ")) for line in body.decode().split("\n\n") if line]
    last: dict[str, Any] = events[-1] if events else {}
    if last.get("type") == "error":
        return last
    if last.get("type") != "transcript.text.done" or "".join(event["delta"] for event in events[:-1]) != last["text"]:
        raise ValueError("the stream does not end as it should")
    return last
