"""More than the service can do: ``python -m loadtests.load.overload --model base --speech DIR``.

Requests arrive at half the capacity, then at up to ten times as much. What is accepted must be answered in time, what
is not must hear so at once, and memory must not grow. Capacity is measured first, with 16 clients in a closed loop; the
deadline is a multiple of a turn, the time in which each of them is answered once, and so is the least length of a
phase, so that the backlog of a slow model reaches its deadline as well. Exit status 1: an answer was neither right,
refused with a ``Retry-After``, nor late with one. The README's table under "Dependability" is made with this.

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
from loadtests.common.clips import Clip
from loadtests.common.service_process import Application, Service, started
from loadtests.load.calibration import CLIENTS, calibrate
from loadtests.load.open_loop import Answer, Ask, OpenLoopResult, offer, post
from loadtests.load.options import add_subject, subject_of

OK, REFUSED, TIMED_OUT, BROKEN = 200, 503, 504, 0
DEADLINE_TURNS = 4.0
PHASE_DEADLINES = 2.0
GRACE_S = 10.0
MEBIBYTE = 2**20
PRIORITIES = ("high", "normal", "normal", "low")
FACTORS = (0.5, 2.0, 4.0, 10.0)
PATH = "/v1/audio/transcriptions"

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
        seconds = max(options.seconds, PHASE_DEADLINES * deadline_s)
        print(
            f"capacity {calibration.capacity:.3g} requests/s (closed loop, {CLIENTS} clients), a request alone "
            f"{calibration.request_s:.3g} s, deadline {deadline_s:.3g} s, phases of {seconds:.0f} s\n"
        )
        mix = list(asks(service.url, subject.speech.clips, deadline_s))
        results = list(_flood(service, mix, [factor * calibration.capacity for factor in options.factors], seconds))
    print()
    for factor, result in zip(options.factors, results, strict=True):
        print(f"{factor:g}x: {_others(result.answers)}")
    return 1 if any(_is_unsound(answer) for result in results for answer in result.answers) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a phase, at least")
    parser.add_argument("--deadline-turns", type=float, default=DEADLINE_TURNS, help="of every request, in turns")
    parser.add_argument("--factors", type=float, nargs="+", default=FACTORS, help="of the capacity")
    add_subject(parser)
    return parser.parse_args()


def _flood(service: Service, mix: Sequence[Ask], rates: Sequence[float], seconds: float) -> Iterator[OpenLoopResult]:
    """Offer each rate in turn, and print a row for it."""
    print("| | " + " | ".join(COLUMNS) + " |")
    print("| --- " * (len(COLUMNS) + 1) + "|")
    for rate in rates:
        before = _memory(service)
        result = offer(service.url, mix, rate=rate, seconds=seconds, patience_s=seconds + GRACE_S)
        row = (f"{rate:.3g}/s", *_row(result), *_cost(result, before, _memory(service)))
        print("| " + " | ".join(row) + " |", flush=True)
        yield result


def asks(url: str, clips: Sequence[Clip], deadline_s: float) -> Iterator[Ask]:
    """Every clip at every priority, as often as ``PRIORITIES`` has it."""
    for clip, priority in itertools.product(clips, PRIORITIES):
        headers = {"x-priority": priority, "x-timeout-seconds": f"{deadline_s:g}"}
        yield Ask(priority, post(url, PATH, clip.wav, headers))


def _is_unsound(answer: Answer) -> bool:
    if answer.status in {REFUSED, TIMED_OUT}:
        return not answer.has_retry_after
    return answer.status != OK


def _row(result: OpenLoopResult) -> Iterator[str]:
    by_status = {status: _of(result, status) for status in (OK, REFUSED, TIMED_OUT, BROKEN)}
    yield f"{len(result.answers) / result.seconds:.3g}"
    for priority in ("high", "normal", "low"):
        yield _rate([answer for answer in by_status[OK] if answer.kind == priority], result.seconds)
    yield _rate(by_status[REFUSED], result.seconds)
    yield f"{len(by_status[TIMED_OUT]) / result.seconds:.3g}"
    yield str(len(by_status[BROKEN]))


def _cost(result: OpenLoopResult, before: float, after: float) -> Iterator[str]:
    yield f"{before:.0f} to {after:.0f}"
    yield f"{1000 * np.percentile(result.lags_s, 99):.0f}, {result.cpu_share:.0%}"


def _others(answers: Sequence[Answer]) -> str:
    others = [answer for answer in answers if answer.status != OK]
    codes = dict(Counter(f"{answer.status} {answer.code}" for answer in others))
    bare = sum(answer.status in {REFUSED, TIMED_OUT} and not answer.has_retry_after for answer in others)
    return f"not answered: {codes}; without Retry-After: {bare}"


def _of(result: OpenLoopResult, status: int) -> list[Answer]:
    return [answer for answer in result.answers if _counted_as(answer) == status]


def _counted_as(answer: Answer) -> int:
    """Who was let in and then waited until it was too late was not refused at once."""
    return TIMED_OUT if answer.code == QueueTimeoutError.code else answer.status


def _rate(answers: Sequence[Answer], seconds: float) -> str:
    if not answers:
        return "0"
    p50, p99 = np.percentile([1000 * answer.seconds for answer in answers], (50, 99))
    return f"{len(answers) / seconds:.3g}, {p50:.0f} / {p99:.0f}"


def _memory(service: Service) -> float:
    """Of all processes of the service, proportional shares, in MiB."""
    family = [service.process, *service.process.children(recursive=True)]
    return sum(process.memory_full_info().pss for process in family) / MEBIBYTE


if __name__ == "__main__":
    sys.exit(main())
