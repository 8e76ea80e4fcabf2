"""The crowd test's own judgement, and clients that come back as they are told to."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar

import aiohttp
import pytest

from loadtests.common.client import make_upload
from loadtests.common.replies import Outcome, Reply
from loadtests.load.crowd import clients
from loadtests.load.crowd.clients import Errand, Visit, crowd, run_errand
from loadtests.load.crowd.judgement import CrowdVerdict, judge_crowd, judge_hours, judge_results, returns
from loadtests.load.crowd.openings import openings_in
from loadtests.load.crowd.report import as_json, as_markdown
from loadtests.load.crowd.results import CrowdResults, Gathering, Hours
from tests.support.threaded_server import answering

RIGHT = Reply("right", 200, "text")


def visit(reply: Reply = RIGHT, **changes: Any) -> Visit:
    fields = {"errand": "a", "priority": "normal", "returned": False, "began": 0.0, "seconds": 1.0, **changes}
    return Visit(reply=reply, **fields)


def unanswered(outcome: Outcome, status: int, code: str, **changes: Any) -> Visit:
    return visit(Reply(outcome, status, code=code), **changes)


def late(**changes: Any) -> Visit:
    return unanswered("late", 504, "deadline_exceeded", **changes)


def refused(*, returned: bool = False, retry_after_s: float | None = 5.0) -> Visit:
    return visit(Reply("refused", 503, code="overloaded", retry_after_s=retry_after_s), returned=returned)


def broken(*, returned: bool = False) -> Visit:
    return visit(Reply("error", 503, code="circuit_open", retry_after_s=2.0), returned=returned)


def gathering(*visits: Visit, count: int = 16, openings: int = 0) -> Gathering:
    """With answers of both priorities for ten seconds, and whatever else."""
    answers = [visit(began=float(second), priority="high" if second % 2 else "normal") for second in range(10)]
    return Gathering(count, [*answers, *visits], openings)


def failed(verdicts: list[CrowdVerdict]) -> list[str]:
    return [verdict.criterion for verdict in verdicts if not verdict.passed]


def test_a_crowd_within_the_capacity_that_is_answered_meets_all_criteria() -> None:
    assert failed(judge_crowd(gathering(), capacity=1.0)) == []


@pytest.mark.parametrize(
    ("one", "criterion"),
    [
        (gathering(unanswered("error", 500, "internal_error")), "errors: neither 200, 504 nor refused"),
        (gathering(broken()), "errors: neither 200, 504 nor refused"),
        (gathering(unanswered("no answer", 0, "ServerDisconnectedError")), "errors: neither 200, 504 nor refused"),
        (gathering(visit(Reply("wrong", 200, "tixt", code="wrong_text"))), "wrong texts"),
        (gathering(openings=1), "breaker openings"),
        (gathering(late()), "504, within the capacity"),
        (gathering(refused()), "refused, within the capacity"),
        (gathering(refused(retry_after_s=None), count=64), "refusals without Retry-After"),
        (gathering(refused(), late(), count=64), "refused at once, of what was not answered in time"),
        (gathering(refused(returned=True), count=64), "got in, of those that came back as told"),
        (gathering(visit(seconds=20.0)), "answers per second over the capacity"),
        (
            gathering(*(visit(seconds=25.0, priority="high") for _ in range(20))),
            "latency of high priority, p95, over one turn of its peers",
        ),
    ],
)
def test_each_broken_promise_fails_its_criterion(one: Gathering, criterion: str) -> None:
    assert failed(judge_crowd(one, capacity=1.0)) == [criterion]


def test_beyond_the_capacity_refusals_are_no_failure_when_they_are_true() -> None:
    one = gathering(*[refused()] * 20, *[visit(returned=True)] * 10, late(), count=256)
    assert failed(judge_crowd(one, capacity=1.0)) == []
    assert returns(one) == (10, 10)


def test_a_client_that_meets_an_open_breaker_did_not_get_in() -> None:
    one = gathering(broken(returned=True), visit(returned=True))
    assert returns(one) == (2, 1)


def test_a_crowd_must_get_at_least_what_one_client_gets_alone() -> None:
    slow = Gathering(16, [visit(), *[late(began=9.0)] * 15], 0)
    assert slow.answers_per_s == pytest.approx(0.1)
    assert CrowdResults(request_s=2.0, gatherings=[slow]).capacity == 0.5
    assert "answers per second over the capacity" in failed(judge_results(CrowdResults(2.0, [slow])))


def hours(**changes: Any) -> Hours:
    fields: dict[str, Any] = {
        "hour_s": 300.0,
        "alone": [visit(seconds=30.0)],
        "together": [[visit(seconds=90.0)], [refused(), visit(returned=True, seconds=80.0)]],
        "beside": [visit(seconds=2.0)],
        "openings": 0,
        **changes,
    }
    return Hours(**fields)


def test_hours_that_are_all_answered_beside_quick_short_files_meet_all_criteria() -> None:
    assert failed(judge_hours(hours(), request_s=1.0)) == []
    assert hours().real_times == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("changes", "criteria"),
    [
        ({"alone": [visit(seconds=400.0)]}, ["an hour alone, x real time"]),
        ({"together": [[visit()], [late()]]}, ["hours answered", "504"]),
        ({"beside": [visit(), refused()]}, ["short files beside them refused"]),
        ({"beside": [visit(seconds=7.0)]}, ["latency of short files beside them, p95, over a request alone"]),
    ],
)
def test_hours_that_shut_somebody_out_do_not(changes: dict[str, Any], criteria: list[str]) -> None:
    assert failed(judge_hours(hours(**changes), request_s=1.0)) == criteria


def test_a_service_that_answered_nobody_meets_nothing_that_could_not_be_measured() -> None:
    results = CrowdResults(1.0, [Gathering(16, [late()] * 16, 1)])
    assert {"504, within the capacity", "breaker openings", "answers per second over the capacity"} <= set(
        failed(judge_results(results))
    )
    assert "16 x 504 deadline_exceeded" in as_markdown(results)


def test_the_page_and_the_counts_tell_all() -> None:
    results = CrowdResults(1.0, [gathering(refused(), unanswered("late", 504, "queue_timeout"), count=64)], hours())
    text = as_markdown(results)
    assert "| 64 | 10 x 200, 1 x 503 overloaded, 1 x 504 queue_timeout | 1 | 1 / 1 | 1 / 1 | 0, 0 | 0 |" in text
    assert "went at 10 times real time" in text
    assert "**FAILED**" in text
    assert len(json.loads(as_json(results))["verdicts"]) == len(judge_results(results))


def test_breaker_openings_are_summed_over_stages() -> None:
    series = "amanuensis_breaker_openings_total"
    text = f'# TYPE {series} counter\n{series}{{stage="a"}} 2.0\n{series}{{stage="b"}} 1.0\nother_total 5.0\n'
    assert openings_in(text) == 3


class Handler(BaseHTTPRequestHandler):
    """Refuses every client's first attempt, or fails, as its first byte of audio says."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[Counter[str]] = Counter()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.seen[self.headers["x-priority"]] += 1
        if b"broken" in body:
            return self._answer(500, {"error": {"code": "internal_error"}})
        if self.seen.total() % 2:
            return self._answer(503, {"error": {"code": "overloaded"}})
        return self._answer(200, {"text": "yes"})

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if status == 503:
            self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(clients, "BACKOFF_S", 0.0)
    Handler.seen.clear()
    with answering(Handler) as address:
        yield address


def visits_of(url: str, errand: Errand) -> list[Visit]:
    async def run() -> list[Visit]:
        async with aiohttp.ClientSession() as session:
            return await run_errand(session, url, errand)

    return asyncio.run(run())


def test_a_refused_client_comes_back_until_it_is_answered(url: str) -> None:
    first, second = visits_of(url, Errand("a", make_upload(b"audio"), "yes"))
    assert (first.reply.status, first.reply.code, first.reply.retry_after_s) == (503, "overloaded", 0.0)
    assert (second.reply.status, second.reply.code, second.reply.text) == (200, "", "yes")
    assert (first.returned, second.returned) == (False, True)


def test_another_text_is_told_and_an_error_is_believed(url: str) -> None:
    assert visits_of(url, Errand("a", make_upload(b"audio"), "no"))[-1].reply.code == "wrong_text"
    replies = [one.reply for one in visits_of(url, Errand("a", make_upload(b"broken")))]
    assert [(one.status, one.code) for one in replies] == [(500, "internal_error")]


def test_every_tenth_client_of_a_crowd_asks_with_high_priority(url: str) -> None:
    async def run() -> list[Visit]:
        async with aiohttp.ClientSession() as session:
            return await crowd(session, url, [Errand("a", make_upload(b"audio"), "yes")], clients=20, seconds=0.2)

    visits = asyncio.run(run())
    assert {one.priority for one in visits} == {"high", "normal"}
    assert len(visits) == Handler.seen.total()
    assert 0.02 < Handler.seen["high"] / Handler.seen.total() < 0.3
