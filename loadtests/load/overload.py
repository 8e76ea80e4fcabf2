"""Offer more requests than the service can answer.

``python -m loadtests.load.overload --model base --speech DIR``: requests arrive at half the capacity, then at up to ten
times as much. What is accepted must be answered in time, what is not must hear so at once, and memory must not grow.
Capacity is measured first, with 16 clients in a closed loop; the deadline is a multiple of a turn, the time in which
each of them is answered once, and so is the least length of a stretch, so that the backlog of a slow model reaches its
deadline as well. Exit status 1: an answer was neither right, nor refused with a ``Retry-After``, nor late with a word
on whether a retry makes sense.

The load generator runs on the same cores as the service; the last columns say how much of one core it used and how late
it ran itself.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from deployments.shared.errors import QueueTimeoutError
from loadtests.common.client import make_upload
from loadtests.common.clips import Clip
from loadtests.common.memory import resident_mib
from loadtests.common.replies import GATEWAY_TIMEOUT, NO_ANSWER, OK, UNAVAILABLE, Reply
from loadtests.common.service_process import Application, Service, started
from loadtests.load.calibration import CLIENTS, calibrate
from loadtests.load.open_loop import Arrival, OpenLoopResult, RawRequest, offer, prepare
from loadtests.load.subject import add_subject, subject_of

DEADLINE_TURNS = 4.0
STRETCH_DEADLINES = 2.0
GRACE_S = 10.0
PRIORITIES = ("high", "normal", "normal", "low")
FACTORS = (0.5, 2.0, 4.0, 10.0)

COLUMNS = (
    "offered/s",
    *(f"{priority}: answered/s, p50 / p99 ms" for priority in ("high", "normal", "low")),
    "refused/s, p50 / p99 ms",
    "timed out/s",
    "broken",
    "memory MiB",
    "generator: lag p99 ms, CPU",
)


def main() -> int:
    options = _options()
    subject = subject_of(options)
    settings = {"failure_log_max_records": 0}
    with started([Application("amanuensis", "/", settings, model=subject.model)]) as service:
        calibration = calibrate(service.url, subject.speech, ())
        deadline_s = options.deadline_turns * calibration.turn_s
        seconds = max(options.seconds, STRETCH_DEADLINES * deadline_s)
        print(
            f"capacity {calibration.capacity:.3g} requests/s (closed loop, {CLIENTS} clients), a request alone "
            f"{calibration.request_s:.3g} s, deadline {deadline_s:.3g} s, stretches of {seconds:.0f} s\n"
        )
        mix = list(every_priority(service.url, subject.speech.clips, deadline_s))
        results = list(_flood(service, mix, [factor * calibration.capacity for factor in options.factors], seconds))
    print()
    for factor, result in zip(options.factors, results, strict=True):
        print(f"{factor:g}x: {_others(result.arrivals)}")
    return 0 if all(is_sound(arrival.reply) for result in results for arrival in result.arrivals) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0, help="least length of the stretch of each factor")
    parser.add_argument("--deadline-turns", type=float, default=DEADLINE_TURNS, help="of every request, in turns")
    parser.add_argument("--factors", type=float, nargs="+", default=FACTORS, help="of the capacity")
    add_subject(parser)
    return parser.parse_args()


def _flood(
    service: Service, mix: Sequence[RawRequest], rates: Sequence[float], seconds: float
) -> Iterator[OpenLoopResult]:
    """Offer each rate in turn, and print a row for it."""
    print("| | " + " | ".join(COLUMNS) + " |")
    print("| --- " * (len(COLUMNS) + 1) + "|")
    for rate in rates:
        before = resident_mib(service.process)
        result = offer(service.url, mix, rate=rate, seconds=seconds, patience_s=seconds + GRACE_S)
        row = (f"{rate:.3g}/s", *_row(result), *_cost(result, before, resident_mib(service.process)))
        print("| " + " | ".join(row) + " |", flush=True)
        yield result


def every_priority(url: str, clips: Sequence[Clip], deadline_s: float) -> Iterator[RawRequest]:
    """Prepare every clip at every priority, as often as ``PRIORITIES`` has it."""
    for clip, priority in itertools.product(clips, PRIORITIES):
        yield prepare(priority, url, make_upload(clip.wav, priority=priority, deadline_s=deadline_s))


def is_sound(reply: Reply) -> bool:
    """Tell whether a client knows what to do next: it has its text, or heard whether a retry makes sense."""
    if reply.status == UNAVAILABLE:
        return reply.retry_after_s is not None
    if reply.status == GATEWAY_TIMEOUT:
        return reply.retry_after_s is not None or reply.discourages_retry
    return reply.outcome == "right"


def _row(result: OpenLoopResult) -> Iterator[str]:
    by_status = {status: _counted(result, status) for status in (OK, UNAVAILABLE, GATEWAY_TIMEOUT, NO_ANSWER)}
    yield f"{len(result.arrivals) / result.seconds:.3g}"
    for priority in ("high", "normal", "low"):
        yield _rate([arrival for arrival in by_status[OK] if arrival.kind == priority], result.seconds)
    yield _rate(by_status[UNAVAILABLE], result.seconds)
    yield f"{len(by_status[GATEWAY_TIMEOUT]) / result.seconds:.3g}"
    yield str(len(by_status[NO_ANSWER]))


def _cost(result: OpenLoopResult, before: float, after: float) -> Iterator[str]:
    yield f"{before:.0f} to {after:.0f}"
    yield f"{1000 * np.percentile(result.lags_s, 99):.0f}, {result.cpu_share:.0%}"


def _others(arrivals: Sequence[Arrival]) -> str:
    replies = [arrival.reply for arrival in arrivals if arrival.reply.status != OK]
    codes = dict(Counter(f"{reply.status} {reply.code}" for reply in replies))
    return f"not answered: {codes}; without a word on retries: {sum(not is_sound(reply) for reply in replies)}"


def _counted(result: OpenLoopResult, status: int) -> list[Arrival]:
    return [arrival for arrival in result.arrivals if _status_counted(arrival.reply) == status]


def _status_counted(reply: Reply) -> int:
    """Return the status under which a reply is counted: who was let in and then waited too long was not refused."""
    return GATEWAY_TIMEOUT if reply.code == QueueTimeoutError.code else reply.status


def _rate(arrivals: Sequence[Arrival], seconds: float) -> str:
    if not arrivals:
        return "0"
    p50, p99 = np.percentile([1000 * arrival.seconds for arrival in arrivals], (50, 99))
    return f"{len(arrivals) / seconds:.3g}, {p50:.0f} / {p99:.0f}"


if __name__ == "__main__":
    sys.exit(main())
