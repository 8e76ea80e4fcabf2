"""What an answer means is read by one function for all clients."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loadtests.common.replies import Outcome, read_reply


def body(document: object) -> bytes:
    return json.dumps(document).encode()


def error(code: str) -> bytes:
    return body({"error": {"code": code, "message": "what to do", "type": "", "param": None}})


def stream(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + body(event) + b"\n\n" for event in events)


DONE = {"type": "transcript.text.done", "text": "one two"}
DELTAS = ({"type": "transcript.text.delta", "delta": "one"}, {"type": "transcript.text.delta", "delta": " two"})
WAITING, END = b": waiting\n\n", b"data: [DONE]\n\n"
BROKEN_OFF = {"type": "error", "error": {"code": "stage_lost"}}


@pytest.mark.parametrize(
    ("status", "content", "outcome", "code"),
    [
        (200, body({"text": "one two"}), "right", ""),
        (200, body({"text": "one too"}), "wrong", "wrong_text"),
        (200, b'{"text": "one', "malformed", "unreadable"),
        (200, b"{}", "malformed", "unreadable"),
        (200, b"[]", "malformed", "unreadable"),
        (200, b"<html>", "malformed", "unreadable"),
        (500, b"Internal Server Error", "no answer", "proxy_page"),
        (404, b"Path '/v1/audio/transcriptions' not found.", "no answer", "proxy_page"),
        (502, body({"error": "no server"}), "no answer", "proxy_page"),
        (503, error("queue_full"), "refused", "queue_full"),
        (503, error("overloaded"), "refused", "overloaded"),
        (503, error("out_of_space"), "refused", "out_of_space"),
        (429, error("rate_limit_exceeded"), "refused", "rate_limit_exceeded"),
        (503, error("queue_timeout"), "late", "queue_timeout"),
        (504, error("deadline_exceeded"), "late", "deadline_exceeded"),
        (504, error("stage_timeout"), "late", "stage_timeout"),
        (503, error("stage_lost"), "error", "stage_lost"),
        (400, error("invalid_audio"), "error", "invalid_audio"),
    ],
)
def test_what_an_answer_means(status: int, content: bytes, outcome: Outcome, code: str) -> None:
    reply = read_reply(status, {}, content, expected="one two")
    assert (reply.outcome, reply.status, reply.code) == (outcome, status, code)
    assert (reply.text is not None) == (outcome in {"right", "wrong"})


@pytest.mark.parametrize(
    ("status", "content", "outcome"),
    [
        (200, stream(*DELTAS, DONE) + END, "right"),
        (200, WAITING + stream(DELTAS[0]) + WAITING + stream(DELTAS[1], DONE) + END, "right"),
        (200, WAITING + END, "malformed"),
        (200, stream(*DELTAS, {**DONE, "text": "one two three"}), "malformed"),
        (200, stream(DELTAS[0], DONE), "malformed"),
        (200, stream(DONE), "malformed"),
        (200, stream(*DELTAS), "malformed"),
        (200, b"", "malformed"),
        (200, stream(DELTAS[0], BROKEN_OFF), "error"),
        (200, stream(DELTAS[0], {"type": "error", "error": {"code": "deadline_exceeded"}}), "late"),
        (503, error("queue_full"), "refused"),
    ],
)
def test_a_stream_is_read_to_the_event_that_ends_it(status: int, content: bytes, outcome: Outcome) -> None:
    assert read_reply(status, {}, content, streamed=True, expected="one two").outcome == outcome


def test_another_text_than_expected_is_wrong_in_a_stream_too() -> None:
    assert read_reply(200, {}, stream(*DELTAS, DONE), streamed=True, expected="one").outcome == "wrong"


def test_without_an_expectation_any_text_is_right() -> None:
    reply = read_reply(200, {}, body({"text": "", "language": "german"}))
    assert (reply.outcome, reply.text, reply.language) == ("right", "", "german")


def test_what_the_headers_say_is_kept() -> None:
    headers = {"retry-after": "7", "x-should-retry": "false", "x-request-id": "abc"}
    reply = read_reply(503, headers, error("overloaded"))
    assert (reply.retry_after_s, reply.discourages_retry, reply.request_id) == (7.0, True, "abc")
    assert reply.message == "what to do"
    bare = read_reply(503, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, error("overloaded"))
    assert (bare.retry_after_s, bare.discourages_retry, bare.request_id) == (None, False, "")
