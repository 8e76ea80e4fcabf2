"""What became of each attempt, and whether a fault explains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loadtests.load.chaos.faults import FRONT, Fault

Purpose = Literal["transcribe", "bad upload", "hang up", "short deadline"]
Result = Literal["right text", "wrong text", "error", "no answer", "malformed", "stuck", "hung up"]
Category = Literal["answered", "rejected", "refused", "late", "hung up", "failed", "wrong", "unexplained"]

SLACK_S = 3.0
"""How long after the first success following a fault its effects may still be met."""

OVERLOADED = frozenset({"queue_full", "overloaded", "rate_limit_exceeded", "too_many_concurrent_requests"})
OUT_OF_TIME = frozenset({"deadline_exceeded", "queue_timeout", "stage_timeout", "request_cancelled"})
NEVER = frozenset({"internal_error", "slot_violation"})
BAD_REQUEST, INTERNAL = 400, 500
TRANSIENT = frozenset({503, 504})
OK = 200


@dataclass(frozen=True)
class Attempt:
    """One HTTP request. Times in seconds of the monotonic clock.

    Attributes:
        result: ``error`` is an answer of the service that says what is wrong; ``no answer`` a connection that broke, or
            a page of the proxy.
        status: None without an HTTP answer; 200 for an error inside a stream.
        code: of the error, or what broke.
        request_id: finds it in the log.
    """

    purpose: Purpose
    sample: str
    began: float
    ended: float
    result: Result
    status: int | None = None
    code: str = ""
    retry_after_s: float | None = None
    request_id: str = ""


@dataclass(frozen=True)
class Verdict:
    """
    Attributes:
        cause: for what failed, the fault that explains it and how it showed; for what was refused, the code.
    """

    category: Category
    cause: str = ""


def judge(attempt: Attempt, faults: Sequence[Fault]) -> Verdict:
    """The verdict on one attempt."""
    match attempt.result:
        case "hung up":
            return Verdict("hung up")
        case "wrong text":
            return Verdict("wrong", attempt.sample)
        case "right text" if attempt.purpose != "bad upload":
            return Verdict("answered")
        case "no answer":
            return _explained(attempt, [fault for fault in faults if fault.process in FRONT])
        case "error":
            return _judge_error(attempt, faults)
    return _unexplained(attempt)


def _judge_error(attempt: Attempt, faults: Sequence[Fault]) -> Verdict:
    if attempt.code in NEVER or attempt.status == INTERNAL:
        return _unexplained(attempt)
    if attempt.status == BAD_REQUEST and attempt.purpose == "bad upload":
        return Verdict("rejected")
    if attempt.code in OVERLOADED:
        return Verdict("refused", attempt.code)
    if attempt.code in OUT_OF_TIME and attempt.purpose == "short deadline":
        return Verdict("late", attempt.code)
    if attempt.status in TRANSIENT or attempt.status == OK:
        return _explained(attempt, faults)
    return _unexplained(attempt)


def _explained(attempt: Attempt, faults: Sequence[Fault]) -> Verdict:
    fault = next((fault for fault in reversed(faults) if explains(fault, attempt)), None)
    if fault is None:
        return _unexplained(attempt)
    return Verdict("failed", f"{fault.process} {fault.action}: {_symptom(attempt)}")


def explains(fault: Fault, attempt: Attempt) -> bool:
    """Whether the attempt was under way between the fault and a little after the recovery from it."""
    over = float("inf") if fault.recovered is None else max(fault.recovered, fault.until) + SLACK_S
    return fault.at <= attempt.ended and attempt.began <= over


def _unexplained(attempt: Attempt) -> Verdict:
    return Verdict("unexplained", f"{attempt.purpose}: {_symptom(attempt)}")


def _symptom(attempt: Attempt) -> str:
    if attempt.result not in {"error", "no answer"}:
        return attempt.result if not attempt.code else f"{attempt.result} ({attempt.code})"
    return f"{attempt.status} {attempt.code}" if attempt.status else attempt.code


def worth_retrying(attempt: Attempt) -> bool:
    """A sane client tries again when it is told to, and when nothing answered it; a 404, say, it believes."""
    if attempt.result == "no answer":
        return attempt.status is None or attempt.status == OK or attempt.status >= INTERNAL
    return attempt.result == "error" and attempt.retry_after_s is not None
