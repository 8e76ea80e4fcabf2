"""When the cluster test's clients try again, and what it makes of what they saw."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from loadtests.common.replies import Outcome, Reply
from loadtests.load.cluster.clients import Visit, pause_s, retried
from loadtests.load.cluster.network import NetworkError, hosts
from loadtests.load.cluster.observations import Death, Turn
from loadtests.load.cluster.report import Findings, as_markdown

RIGHT = Reply("right", 200, "text")
LATE = Reply("late", 504, code="stage_timeout", retry_after_s=1.0)


def visit(began: float, ended: float, *replies: Reply) -> Visit:
    return Visit(began, ended, replies or (RIGHT,))


def death(*visits: Visit, **changes: Any) -> Death:
    fields = {
        "how": "killed",
        "began": 0.0,
        "died": 10.0,
        "ended": 30.0,
        "on_it": Counter(Decoder=1),
        "replicas": Counter(Decoder=2),
        "repeated": Counter(decoder=1, mel=0),
        "health": "degraded: encoder 2 of 2: it does not answer",
    }
    return Death(visits=visits, **{**fields, **changes})


def findings(*turns: Turn, deaths: tuple[Death, ...] = ()) -> Findings:
    handoffs = {1: "shared_memory", 2: "object_store"}
    return Findings("command", "a machine", 16, 5.0, handoffs, "one has all", turns, deaths)


@pytest.mark.parametrize(
    ("reply", "retries", "expected"),
    [
        (RIGHT, 0, None),
        (LATE, 0, 1.0),
        (LATE, 2, None),
        (Reply("no answer", 0, code="ClientOSError"), 0, 0.5),
        (Reply("no answer", 502, code="proxy_page"), 1, 1.0),
        (Reply("error", 400, code="bad_audio"), 0, None),
        (Reply("refused", 503, code="queue_full", discourages_retry=True), 0, None),
        (Reply("refused", 503, code="queue_full", retry_after_s=600.0), 0, 0.5),
    ],
)
def test_clients_try_again_as_openai_s_client_does(reply: Reply, retries: int, expected: float | None) -> None:
    assert pause_s(reply, retries) == expected


def test_what_happened_since_a_death() -> None:
    seen = death(
        visit(0, 4), visit(4, 9), visit(8, 16, LATE, RIGHT), visit(9, 12), visit(12, 22), visit(16, 19), visit(22, 23)
    )
    assert seen.silence_s == pytest.approx(4.0)
    assert seen.hit_s == pytest.approx(6.0)
    assert seen.trouble_s == pytest.approx(12.0), "the last one that took more than 5 s ended at 22 s"
    assert seen.answered(10.0) == [3, 2]
    assert retried(seen.visits) == ["504 stage_timeout"]


@pytest.mark.parametrize(
    ("outcome", "text", "lost", "wrong"), [("wrong", "other", 0, 1), ("late", None, 1, 0), ("right", "text", 0, 0)]
)
def test_lost_requests_and_wrong_texts_are_counted_in_every_loop(
    outcome: Outcome, text: str | None, lost: int, wrong: int
) -> None:
    bad = visit(0, 1, Reply(outcome, 200, text))
    found = findings(Turn(1, 1.0, [visit(0, 1), bad], {"Ray": 1.0}), deaths=(death(visit(0, 1), bad),))
    assert (found.lost, found.wrong) == (2 * lost, 2 * wrong)


def test_the_page_has_the_ratio_of_each_pair_of_turns_and_where_the_time_goes() -> None:
    seen = [visit(0, 1), visit(1, 2)]
    turns = [Turn(1, 2.0, seen, {"Decoder": 1.0, "Ray": 0.2}), Turn(2, 2.0, seen, {"Decoder": 1.2, "Ray": 0.3})]
    page = as_markdown(findings(*turns, deaths=(death(visit(0, 9), visit(9, 12)),)))
    assert "**CPU time per request: 1.25 times that of one node** (1.25 to 1.25 in 1 pairs of turns)" in page
    assert "| Decoder | 500.0 | 600.0 |" in page
    assert "| two nodes | 2 | 1.0 | 750 | 1000 | 1000 |" in page
    assert "| calls that the service made again | 1 decoder |" in page


def test_without_the_rights_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/sbin/ip")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(NetworkError, match="by root only"), hosts():
        pass
