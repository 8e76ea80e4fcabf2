"""What became of each attempt, and whether a fault explains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deployments.shared.errors import OutOfSpaceError
from loadtests.common.replies import BAD_REQUEST, GATEWAY_TIMEOUT, OK, UNAVAILABLE
from loadtests.load.chaos.clients import Attempt
from loadtests.load.chaos.faults import LAUNCHER, Fault

Category = Literal["answered", "rejected", "refused", "late", "hung up", "failed", "wrong", "unexplained"]

FRONT = frozenset({"Ingress", "HAProxy", "HAProxy manager", LAUNCHER})
"""Processes that hold clients' connections: what these hold dies with them."""

SLACK_S = 3.0
"""How long after the first success following a fault its effects may still be met."""

NEVER = frozenset({"internal_error", "slot_violation"})
TRANSIENT = frozenset({OK, UNAVAILABLE, GATEWAY_TIMEOUT})
"""Statuses of errors that a fault explains; 200 is that of a stream that ends with an error."""


@dataclass(frozen=True)
class Explanation:
    """What one attempt counts as.

    Attributes:
        cause: for what failed, the fault that explains it and how it showed; for what was refused, the code.
    """

    category: Category
    cause: str = ""


def explain_attempt(attempt: Attempt, faults: Sequence[Fault]) -> Explanation:
    """Say what one attempt counts as, given all faults of the run."""
    match attempt.reply.outcome:
        case "right" if attempt.purpose != "bad upload":
            return Explanation("answered")
        case "wrong":
            return Explanation("wrong", attempt.sample)
        case "hung up":
            return Explanation("hung up")
        case "no answer":
            return _explained(attempt, [fault for fault in faults if fault.process in FRONT])
        case "error" | "refused" | "late":
            return _explain_error(attempt, faults)
    return _unexplained(attempt)


def _explain_error(attempt: Attempt, faults: Sequence[Fault]) -> Explanation:
    reply = attempt.reply
    # So few clients never fill the spool: files that a dead ingress left behind would.
    if reply.outcome == "refused" and reply.code != OutOfSpaceError.code:
        return Explanation("refused", reply.code)
    if reply.outcome == "late" and attempt.purpose == "short deadline":
        return Explanation("late", reply.code)
    if reply.status == BAD_REQUEST and attempt.purpose == "bad upload":
        return Explanation("rejected")
    if reply.status in TRANSIENT and reply.code not in NEVER:
        return _explained(attempt, faults)
    return _unexplained(attempt)


def _explained(attempt: Attempt, faults: Sequence[Fault]) -> Explanation:
    fault = next((fault for fault in reversed(faults) if explains(fault, attempt)), None)
    if fault is None:
        return _unexplained(attempt)
    return Explanation("failed", f"{fault.process} {fault.action}: {_symptom(attempt)}")


def explains(fault: Fault, attempt: Attempt) -> bool:
    """Tell whether the attempt was under way between the fault and a little after the recovery from it."""
    over = float("inf") if fault.recovered is None else max(fault.recovered, fault.until) + SLACK_S
    return fault.at <= attempt.ended and attempt.began <= over


def _unexplained(attempt: Attempt) -> Explanation:
    return Explanation("unexplained", f"{attempt.purpose}: {_symptom(attempt)}")


def _symptom(attempt: Attempt) -> str:
    reply = attempt.reply
    if reply.outcome in {"right", "malformed", "stuck"}:
        return reply.outcome
    return f"{reply.status} {reply.code}" if reply.status else reply.code
