"""What one run of the chaos test found, as a page and as counts, and whether the service kept its promises."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from loadtests.common.replies import OK
from loadtests.load.calibration import CLIENTS as CALIBRATION_CLIENTS
from loadtests.load.calibration import Calibration
from loadtests.load.chaos.clients import Attempt, Done
from loadtests.load.chaos.explanation import Explanation, explain_attempt
from loadtests.load.chaos.faults import LAUNCHER, Fault
from loadtests.load.chaos.menu import SIZES
from loadtests.load.processes import PROCESSES

MIB = 2**20
PERCENTILES = (50, 99)
SHOWN = 20

NO_SERVICE = "no service ran: its launcher was killed, and it was started anew"
BROKEN_STREAM = "the process that held its stream died in the middle of it; clients do not repeat a stream"
OTHER = "anything else"
MOST_LOST = 0.003
"""Largest share of all requests that may be lost for any other reason."""


@dataclass(frozen=True)
class Memory:
    """Bytes of all processes of the service, shared ones counted once, before the load, at its end, and at rest."""

    before: int
    end: int
    rest: int


@dataclass
class Findings:
    """Everything one run saw.

    Attributes:
        calibration: what the service did before the load.
        calm, faulty: requests of the two phases.
        inside: counters of ``/stats``, over all lives of the ingress.
        lives: how many lives the ingress had.
        rest: what must be 0 after the cool-down: name -> how many.
        processes: kind -> how many live after the cool-down.
    """

    seed: int
    calm_s: float
    faulty_s: float
    clients: int
    calibration: Calibration
    calm: list[Done]
    faulty: list[Done]
    faults: list[Fault]
    inside: Counter[str]
    lives: int
    rest: dict[str, int]
    processes: dict[str, int]
    memory: Memory


@dataclass
class Account:
    """All attempts and requests of a run, judged.

    Attributes:
        requests: category of the last attempt -> requests.
        attempts: category -> attempts.
        causes: category -> cause -> attempts.
        lost: of the requests that failed for good: why nothing could save them, or ``OTHER`` -> requests.
        unexplained: the attempts that nothing explains, and wrong texts.
    """

    requests: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    causes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    lost: Counter[str] = field(default_factory=Counter)
    unexplained: list[tuple[Attempt, Explanation]] = field(default_factory=list)

    def add(self, done: Done, faults: Sequence[Fault]) -> None:
        """Count one request and its attempts."""
        explained = [explain_attempt(attempt, faults) for attempt in done.attempts]
        self.requests[explained[-1].category] += 1
        if explained[-1].category == "failed":
            self.lost[_why_lost(done.attempts[-1], explained[-1])] += 1
        for attempt, found in zip(done.attempts, explained, strict=True):
            self.attempts[found.category] += 1
            self.causes[found.category][found.cause] += 1
            if found.category in {"wrong", "unexplained"}:
                self.unexplained.append((attempt, found))


def _why_lost(attempt: Attempt, explanation: Explanation) -> str:
    if explanation.cause.startswith(LAUNCHER):
        return NO_SERVICE
    return BROKEN_STREAM if attempt.reply.status == OK else OTHER


def account(findings: Findings) -> Account:
    """Account for both phases together: what is not explained counts in the calm one as well."""
    result = Account()
    for done in [*findings.calm, *findings.faulty]:
        result.add(done, findings.faults)
    return result


def violations(findings: Findings, judged: Account) -> list[str]:
    """Return a sentence for every promise that was broken; none if all were kept."""
    return [
        *_unless_zero({"wrong transcripts": judged.attempts["wrong"]}),
        *_unless_zero({"unexplained errors": judged.attempts["unexplained"]}),
        *_unless_few(judged),
        *_unless_zero(findings.rest),
        *(f"no success within a minute of {_name(fault)}" for fault in findings.faults if fault.recovered is None),
        *(f"no new process within a minute of {_name(fault)}" for fault in findings.faults if fault.replaced is None),
        *(f"{count} {kind} processes at the end" for kind, count in findings.processes.items() if count != 1),
    ]


def as_json(findings: Findings, judged: Account) -> dict[str, Any]:
    """Return the counts behind the page."""
    return {
        "seed": findings.seed,
        "seconds": {"calm": findings.calm_s, "faulty": findings.faulty_s},
        "capacity": findings.calibration.capacity,
        "request_s": findings.calibration.request_s,
        "requests": judged.requests,
        "attempts": judged.attempts,
        "causes": judged.causes,
        "lost": judged.lost,
        "inside": findings.inside,
        "ingress_lives": findings.lives,
        "faults": [asdict(fault) for fault in findings.faults],
        "rest": findings.rest,
        "processes": findings.processes,
        "memory_bytes": asdict(findings.memory),
        "unexplained": [{**asdict(attempt), "cause": found.cause} for attempt, found in judged.unexplained],
        "violations": violations(findings, judged),
    }


def as_markdown(findings: Findings, judged: Account) -> str:
    """Return the page."""
    broken = violations(findings, judged)
    sections = [
        _summary(findings, judged, broken),
        _requests(judged),
        _failures(judged),
        _inside(findings),
        _recovery(findings.faults),
        _latency(findings),
        _rest(findings),
        _unexplained(judged),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _summary(findings: Findings, judged: Account, broken: Sequence[str]) -> str:
    kills = sum(fault.action == "kill" for fault in findings.faults)
    sticks = sum(fault.action == "stick" for fault in findings.faults)
    return "\n".join(
        [
            f"{findings.clients} clients, {findings.calm_s:.0f} s calm, then {findings.faulty_s:.0f} s with "
            f"{kills} kills, {sticks} calls that never return and {len(findings.faults) - kills - sticks} hangs (seed "
            f"{findings.seed}). Before them the service "
            f"answered {findings.calibration.capacity:.3g} requests/s with {CALIBRATION_CLIENTS} clients, and one "
            f"alone in {findings.calibration.request_s:.3g} s.",
            "",
            f"**{judged.requests.total()} requests, {judged.attempts['wrong']} wrong transcripts, "
            f"{judged.attempts['unexplained']} unexplained errors; {'BROKEN' if broken else 'all promises kept'}**",
            *(f"- {line}" for line in broken),
        ]
    )


MEANING = {
    "answered": "the right text",
    "rejected": "bad upload, 400 as it should be",
    "late": "short deadline, 504 as it should be",
    "hung up": "the client broke the connection on purpose",
    "refused": "429 or 503 for overload",
    "failed": "an error or a broken connection that a fault explains",
    "wrong": "another text; must be 0",
    "unexplained": "must be 0",
}


def _requests(judged: Account) -> str:
    rows = [
        f"| {category} | {judged.requests[category]} | {judged.attempts[category]} | {meaning} |"
        for category, meaning in MEANING.items()
    ]
    total = f"| sent | {judged.requests.total()} | {judged.attempts.total()} | |"
    head = "| | requests, after the client's retries | attempts | |"
    table = ["## Requests", "", head, "| --- | --- | --- | --- |", total, *rows]
    sent = max(1, judged.requests.total())
    lost = [
        f"| {why} | {judged.lost[why]} | {judged.lost[why] / sent:.2%} |" for why in (OTHER, BROKEN_STREAM, NO_SERVICE)
    ]
    note = "Requests that failed for good, with the two retries that OpenAI's official client makes by itself:"
    return "\n".join([*table, "", note, "", "| because | requests | of all |", "| --- | --- | --- |", *lost])


def _failures(judged: Account) -> str:
    lines = [
        f"| {category} | {cause} | {count} |"
        for category in ("failed", "refused", "late")
        for cause, count in judged.causes[category].most_common()
    ]
    return "\n".join(["## Attempts that failed, by cause", "", "| | cause | attempts |", "| --- | --- | --- |", *lines])


def _inside(findings: Findings) -> str:
    lines = [f"| {name} | {count} |" for name, count in findings.inside.items()]
    note = (
        f"From `/stats`, summed over {findings.lives} lives of the ingress: the last poll of each counts, so "
        "up to half a second before its death is missing. Calls are of stages; no client saw what was retried inside."
    )
    return "\n".join(["## Seen from inside", "", note, "", "| | |", "| --- | --- |", *lines])


def _recovery(faults: Sequence[Fault]) -> str:
    rows = [
        _recovery_row(
            process, action, [fault for fault in faults if (fault.process, fault.action) == (process, action)]
        )
        for action in ("kill", "hang", "stick")
        for process in (*PROCESSES, LAUNCHER)
    ]
    note = (
        "Seconds from the signal to the end of the first successful request sent after it; a hang lasts 2 to 8 s "
        "itself, and its times include that. A call that sticks never returns: its replica is replaced."
    )
    head = "| process | fault | n | median s | max s |"
    return "\n".join(["## Recovery", "", note, "", head, "| --- | --- | --- | --- | --- |", *filter(None, rows)])


def _recovery_row(process: str, action: str, faults: Sequence[Fault]) -> str:
    times = [fault.recovered - fault.at for fault in faults if fault.recovered is not None]
    if not times:
        return ""
    return f"| {process} | {action} | {len(times)} | {statistics.median(times):.2f} | {max(times):.2f} |"


def _latency(findings: Findings) -> str:
    alone_s = findings.calibration.request_s
    rows = [
        f"| {phase} | {size} | {len(times)} | "
        + " | ".join(f"{np.percentile(times, p):.2f}" for p in PERCENTILES)
        + f" | {np.percentile(times, PERCENTILES[0]) / alone_s:.1f} |"
        for phase, dones in (("calm", findings.calm), ("under faults", findings.faulty))
        for size, times in _times(dones, findings.faults).items()
    ]
    head = "| phase | files | answered | p50 s | p99 s | p50 over a short request alone |"
    note = "As clients wait for the whole text, their retries included."
    return "\n".join(["## Latency", "", note, "", head, "| --- | --- | --- | --- | --- | --- |", *rows])


def _times(dones: Iterable[Done], faults: Sequence[Fault]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {size: [] for size in SIZES}
    for done in dones:
        if done.purpose == "transcribe" and explain_attempt(done.attempts[-1], faults).category == "answered":
            times[done.size].append(done.seconds)
    return {size: found for size, found in times.items() if found}


def _rest(findings: Findings) -> str:
    memory = findings.memory
    sizes = (
        f"Memory of all processes (PSS): {memory.before / MIB:.0f} MiB before the load, {memory.end / MIB:.0f} MiB at "
        f"its end, {memory.rest / MIB:.0f} MiB after the cool-down: {(memory.rest - memory.before) / MIB:+.0f} MiB."
    )
    rows = [f"| {name} | {count} |" for name, count in {**findings.rest, **findings.processes}.items()]
    return "\n".join(["## After the cool-down", "", sizes, "", "| | |", "| --- | --- |", *rows])


def _unexplained(judged: Account) -> str:
    if not judged.unexplained:
        return ""
    lines = [
        f"- {found.cause}: {attempt.sample}, {attempt.ended - attempt.began:.2f} s, request {attempt.reply.request_id}"
        for attempt, found in judged.unexplained[:SHOWN]
    ]
    return "\n".join(["## Not explained", "", *lines])


def _unless_few(judged: Account) -> list[str]:
    lost, sent = judged.lost[OTHER], judged.requests.total()
    return [f"{lost} of {sent} requests failed for good"] if lost > MOST_LOST * sent else []


def _unless_zero(counts: dict[str, int]) -> list[str]:
    return [f"{count} {name}" for name, count in counts.items() if count]


def _name(fault: Fault) -> str:
    return f"the {fault.action} of {fault.process}"
