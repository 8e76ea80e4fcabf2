"""More than the service can do: ``python -m loadtests.overload``.

Requests arrive at half the capacity, then at up to ten times as much. What is accepted must be answered in time, what
is not must hear so at once, and memory must not grow. The load generator runs on the same cores as the service; the
last columns say how much of one core it used and how late it ran itself.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from loadtests import closed_loop
from loadtests.clips import clips
from loadtests.open_loop import Answer, Ask, OpenLoopResult, offer, post
from loadtests.service_process import Application, Service, started

OK, REFUSED, TIMED_OUT, BROKEN = 200, 503, 504, 0
CLIENTS = 16
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a phase")
    parser.add_argument("--deadline", type=float, default=2.0, help="seconds, of every request")
    parser.add_argument("--factors", type=float, nargs="+", default=FACTORS, help="of the capacity")
    options = parser.parse_args()
    with started([Application("amanuensis", "/", {"failure_log_max_records": 0})]) as service:
        closed_loop.run(service.url, clips(), clients=CLIENTS, seconds=3)
        capacity = closed_loop.run(service.url, clips(), clients=CLIENTS, seconds=10).requests_per_s
        print(f"capacity {capacity:.0f} requests/s (closed loop, {CLIENTS} clients), deadline {options.deadline:g} s\n")
        print("| | " + " | ".join(COLUMNS) + " |")
        print("| --- " * (len(COLUMNS) + 1) + "|")
        mix, others = list(asks(service.url, options.deadline)), []
        for factor in options.factors:
            before = _memory(service)
            result = offer(service.url, mix, rate=factor * capacity, seconds=options.seconds)
            row = (f"{factor:g}x", *_row(result), *_cost(result, before, _memory(service)))
            print("| " + " | ".join(row) + " |", flush=True)
            others.append(f"{factor:g}x: {_others(result.answers)}")
            time.sleep(options.deadline)
        print("\n" + "\n".join(others))


def asks(url: str, deadline_s: float) -> Iterator[Ask]:
    """Every clip at every priority, as often as ``PRIORITIES`` has it."""
    for clip, priority in itertools.product(clips(), PRIORITIES):
        headers = {"x-priority": priority, "x-timeout-seconds": f"{deadline_s:g}"}
        yield Ask(priority, post(url, PATH, clip.wav, headers))


def _row(result: OpenLoopResult) -> Iterator[str]:
    by_status = {status: _of(result, status) for status in (OK, REFUSED, TIMED_OUT, BROKEN)}
    yield f"{len(result.answers) / result.seconds:.0f}"
    for priority in ("high", "normal", "low"):
        yield _rate([answer for answer in by_status[OK] if answer.kind == priority], result.seconds)
    yield _rate(by_status[REFUSED], result.seconds)
    yield f"{len(by_status[TIMED_OUT]) / result.seconds:.1f}"
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
    return [answer for answer in result.answers if answer.status == status]


def _rate(answers: Sequence[Answer], seconds: float) -> str:
    if not answers:
        return "0"
    p50, p99 = np.percentile([1000 * answer.seconds for answer in answers], (50, 99))
    return f"{len(answers) / seconds:.1f}, {p50:.0f} / {p99:.0f}"


def _memory(service: Service) -> float:
    """Of all processes of the service, proportional shares, in MiB."""
    family = [service.process, *service.process.children(recursive=True)]
    return sum(process.memory_full_info().pss for process in family) / MEBIBYTE


if __name__ == "__main__":
    main()
