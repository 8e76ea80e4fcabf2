"""The chaos test's own judgement: what a fault explains, and what it must not."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loadtests.common.audio_files import AudioFile
from loadtests.common.replies import Outcome, Reply
from loadtests.load.calibration import Calibration
from loadtests.load.chaos.clients import Attempt, Done, is_retried, pause_s
from loadtests.load.chaos.explanation import SLACK_S, Category, explain_attempt
from loadtests.load.chaos.faults import GAP_S, HANG_S, HANGS_PER_ROUND, LAUNCHER, Fault, plan_faults
from loadtests.load.chaos.menu import PATIENCE, Menu
from loadtests.load.chaos.report import (
    BROKEN_STREAM,
    NO_SERVICE,
    Findings,
    Memory,
    account,
    as_json,
    as_markdown,
    violations,
)
from loadtests.load.chaos.stuck import THREADS
from loadtests.load.chaos.watch import STAGES, Lives, files_left
from loadtests.load.processes import PROCESSES

KILLED_DECODER = Fault("Decoder", "kill", at=100.0, until=100.0, recovered=104.0, replaced=105.0)
KILLED_INGRESS = Fault("Ingress", "kill", at=200.0, until=200.0, recovered=203.0, replaced=203.0)


def attempt(
    outcome: Outcome, status: int = 0, code: str = "", *, retry_after_s: float | None = None, **changes: Any
) -> Attempt:
    fields = {"purpose": "transcribe", "sample": "a", "began": 101.0, "ended": 102.0, **changes}
    return Attempt(reply=Reply(outcome, status, code=code, retry_after_s=retry_after_s), **fields)


def category(one: Attempt, *faults: Fault) -> Category:
    return explain_attempt(one, faults or (KILLED_DECODER, KILLED_INGRESS)).category


def test_every_process_is_killed_once_a_round_in_an_order_that_the_seed_decides() -> None:
    a_round = len(PROCESSES) + HANGS_PER_ROUND + len(THREADS)
    first, second = (list(itertools.islice(plan_faults(random.Random(7)), a_round)) for _ in range(2))
    other = list(itertools.islice(plan_faults(random.Random(8)), a_round))
    assert first == second != other
    assert Counter(plan.process for plan in first if plan.action == "kill") == dict.fromkeys(PROCESSES, 1)
    assert Counter(plan.process for plan in first if plan.action == "stick") == dict.fromkeys(THREADS, 1)
    assert all(GAP_S[0] <= plan.gap_s <= GAP_S[1] for plan in first)
    assert all(HANG_S[0] <= plan.hang_s <= HANG_S[1] for plan in first if plan.action == "hang")


def test_an_error_that_a_fault_explains_names_it() -> None:
    lost = attempt("error", 503, "stage_lost")
    assert explain_attempt(lost, (KILLED_DECODER,)).cause == "Decoder kill: 503 stage_lost"
    assert category(lost) == "failed"


def test_an_error_without_a_fault_is_not_explained() -> None:
    over = KILLED_DECODER.recovered or 0.0
    late = attempt("error", 503, "stage_lost", began=over + SLACK_S + 0.1, ended=over + SLACK_S + 1)
    early = attempt("error", 503, "stage_lost", began=90.0, ended=99.0)
    assert category(late) == category(early) == "unexplained"


def test_a_fault_without_recovery_explains_all_that_follows() -> None:
    never = Fault("Decoder", "kill", at=100.0, until=100.0, recovered=None, replaced=None)
    assert category(attempt("error", 503, "circuit_open", began=900.0, ended=901.0), never) == "failed"


def test_a_broken_connection_is_explained_by_what_holds_connections_only() -> None:
    assert category(attempt("no answer", code="ServerDisconnectedError")) == "unexplained"
    assert category(attempt("no answer", code="ServerDisconnectedError", began=199.0, ended=200.1)) == "failed"


@pytest.mark.parametrize(
    "one",
    [
        attempt("error", 500, "internal_error"),
        attempt("error", 200, "internal_error"),
        attempt("error", 500, "slot_violation"),
        attempt("malformed", 200),
        attempt("stuck"),
        attempt("error", 400, "invalid_audio"),
        attempt("right", 200, purpose="bad upload"),
    ],
)
def test_no_fault_explains_what_must_never_happen(one: Attempt) -> None:
    assert category(one) == "unexplained"


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (attempt("right", 200), "answered"),
        (attempt("wrong", 200), "wrong"),
        (attempt("hung up", purpose="hang up"), "hung up"),
        (attempt("error", 400, "invalid_audio", purpose="bad upload"), "rejected"),
        (attempt("refused", 503, "queue_full", began=0.0, ended=1.0), "refused"),
        (attempt("late", 504, "deadline_exceeded", purpose="short deadline", began=0.0, ended=1.0), "late"),
        (attempt("late", 504, "deadline_exceeded", began=0.0, ended=1.0), "unexplained"),
    ],
)
def test_what_was_to_be_expected(one: Attempt, expected: Category) -> None:
    assert category(one) == expected


def test_a_full_spool_is_no_refusal_that_so_few_clients_may_meet() -> None:
    full = attempt("refused", 503, "out_of_space", retry_after_s=1.0)
    assert category(full, KILLED_DECODER) == "failed"
    assert explain_attempt(full, ()).category == "unexplained"


def test_the_client_retries_as_the_official_one_does() -> None:
    assert is_retried(attempt("no answer").reply)
    assert is_retried(attempt("no answer", 500, "page of the proxy").reply)
    assert not is_retried(attempt("no answer", 404, "page of the proxy").reply)
    assert not is_retried(attempt("no answer", 200, "ClientPayloadError").reply), "an answer had begun"
    assert is_retried(attempt("refused", 503, "queue_full", retry_after_s=1.0).reply)
    assert is_retried(attempt("late", 504, "stage_timeout").reply)
    assert not is_retried(Reply("late", 504, code="deadline_exceeded", discourages_retry=True))
    assert not is_retried(attempt("wrong", 200).reply)


def test_it_waits_as_long_as_it_is_told_to_or_longer_each_time() -> None:
    assert pause_s(attempt("refused", 503, "queue_full", retry_after_s=3.0).reply, 1, 0.5) == 3.0
    assert [pause_s(attempt("no answer").reply, attempts, 0.0) for attempts in (1, 2, 6)] == [0.5, 1.0, 8.0]
    assert pause_s(attempt("refused", 503, "queue_full", retry_after_s=61.0).reply, 1, 1.0) == 0.375


def test_what_was_lost_is_told_by_what_could_have_saved_it() -> None:
    killed = Fault(LAUNCHER, "kill", 100.0, 100.0, 103.0, 103.0)
    of_launcher = account(findings(done(attempt("no answer", code="ClientConnectorError")), faults=[killed]))
    assert of_launcher.lost == {NO_SERVICE: 1}
    cut_off = attempt("no answer", 200, "ClientPayloadError", began=199.0, ended=201.0)
    broken = account(findings(done(cut_off), faults=[KILLED_INGRESS]))
    assert broken.lost == {BROKEN_STREAM: 1}
    other = findings(done(attempt("error", 503, "stage_lost")), faults=[KILLED_DECODER])
    assert violations(other, account(other)) == ["1 of 1 requests failed for good"]


def test_the_menu_offers_everything() -> None:
    files = [AudioFile(size, size, b"audio") for size in ("short", "long", "minutes")]
    sizes = ("short", "long", "minutes")
    alone_s = {"short": 1.5, "long": 2.0, "minutes": 15.0}
    menu = Menu(random.Random(1), files, Calibration(dict.fromkeys(sizes, "text"), alone_s, 1.5, 1.6, 5.0))
    asked = [menu.choose() for _ in range(2000)]
    assert {one.purpose for one in asked} == {"transcribe", "bad upload", "hang up", "short deadline"}
    formats = (b'"response_format"\r\n\r\njson', b'"response_format"\r\n\r\nverbose_json', b'"stream"\r\n\r\ntrue')
    assert all(any(wanted in one.upload.body for one in asked) for wanted in formats)
    assert all(one.upload.streamed == (formats[2] in one.upload.body) for one in asked)
    assert {one.upload.priority for one in asked} == {"high", "normal", "low"}
    assert all(one.upload.deadline_s == one.deadline_s for one in asked)
    assert {one.size for one in asked} == {"short", "long", "minutes"}
    assert all(one.expected == ("" if one.purpose == "bad upload" else "text") for one in asked)
    deadlines_s = {one.size: one.deadline_s for one in asked if one.purpose == "transcribe"}
    assert deadlines_s == {"short": 60.0, "long": 60.0, "minutes": PATIENCE * 15.0}
    assert menu.longest_deadline_s == PATIENCE * 15.0
    assert all(0.75 <= one.deadline_s <= 18.0 for one in asked if one.purpose == "short deadline")
    assert all(0.0 <= menu.moment()[1] <= 18.0 for _ in range(100))


def stats(enqueued: int, retries: int) -> dict[str, Any]:
    stage = {"total_processed": 0, "total_retries": retries, "total_errors": 0, "total_timeouts": 0}
    return {
        "requests": {"answered": enqueued, "failed": {"stage_lost": 1}},
        "pipeline": {"queue": {"total_enqueued": enqueued}},
        "stages": dict.fromkeys(STAGES, stage),
    }


def test_statistics_are_summed_over_the_lives_of_the_ingress() -> None:
    lives = Lives()
    for enqueued, retries in ((5, 1), (9, 2), (3, 0), (4, 1)):
        lives.saw(stats(enqueued, retries))
    assert lives.count == 2
    assert lives.total["answered"] == 9 + 4
    assert lives.total["calls retried inside"] == 3 * (2 + 1)
    assert lives.total["error stage_lost"] == 2


def test_a_lock_and_a_slab_are_all_that_may_be_left(tmp_path: Path) -> None:
    home = tmp_path / "amanuensis-1"
    home.mkdir()
    for name in ("lock", "slab"):
        (home / name).touch()
    assert files_left(tmp_path) == 0
    (home / "x.upload").touch()
    (tmp_path / "amanuensis-2").mkdir()
    assert files_left(tmp_path) == 2


def findings(*dones: Done, **changes: Any) -> Findings:
    fields: dict[str, Any] = {
        "seed": 1,
        "calm_s": 6.0,
        "faulty_s": 54.0,
        "clients": 12,
        "calibration": Calibration({"a": "one two"}, {"a": 0.5}, request_s=0.5, capacity=20.0, mean_clip_s=5.0),
        "calm": [],
        "faulty": list(dones),
        "faults": [KILLED_DECODER, KILLED_INGRESS],
        "inside": Counter({"calls retried inside": 3}),
        "lives": 2,
        "rest": {"slots in use": 0},
        "processes": dict.fromkeys(PROCESSES, 1),
        "memory": Memory(2**30, 2**30 + 2**21, 2**30 + 2**20),
        **changes,
    }
    return Findings(**fields)


def done(*attempts: Attempt) -> Done:
    return Done(attempts[-1].purpose, "short", attempts)


def test_the_page_tells_what_came_of_all_requests() -> None:
    found = findings(
        done(attempt("right", 200)),
        done(attempt("error", 503, "stage_lost", retry_after_s=1.0), attempt("right", 200, ended=103.5)),
    )
    judged = account(found)
    page = as_markdown(found, judged)
    assert violations(found, judged) == []
    assert "**2 requests, 0 wrong transcripts, 0 unexplained errors; all promises kept**" in page
    assert "| answered | 2 | 2 |" in page
    assert "| failed | 0 | 1 |" in page
    assert "| failed | Decoder kill: 503 stage_lost | 1 |" in page
    assert "| Decoder | kill | 1 | 4.00 | 4.00 |" in page
    assert "| under faults | short | 2 | 1.75 | 2.48 | 3.5 |" in page
    assert "the service answered 20 requests/s with 16 clients, and one alone in 0.5 s." in page
    assert "+1 MiB" in page
    assert json.loads(json.dumps(as_json(found, judged)))["attempts"] == {"answered": 2, "failed": 1}


@pytest.mark.parametrize(
    ("found", "broken"),
    [
        (findings(done(attempt("wrong", 200))), "1 wrong transcripts"),
        (findings(done(attempt("stuck"))), "1 unexplained errors"),
        (findings(rest={"slots in use": 2}), "2 slots in use"),
        (findings(processes={"HAProxy": 2}), "2 HAProxy processes at the end"),
        (
            findings(faults=[Fault("Encoder", "kill", 1.0, 1.0, None, 2.0)]),
            "no success within a minute of the kill of Encoder",
        ),
        (
            findings(faults=[Fault("Encoder", "kill", 1.0, 1.0, 2.0, None)]),
            "no new process within a minute of the kill of Encoder",
        ),
    ],
)
def test_a_broken_promise_is_told(found: Findings, broken: str) -> None:
    judged = account(found)
    assert violations(found, judged) == [broken]
    assert f"- {broken}" in as_markdown(found, judged)
