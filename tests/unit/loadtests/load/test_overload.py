"""Which answers leave a client of an overloaded service knowing what to do next."""

from __future__ import annotations

import pytest

from loadtests.common.replies import Reply
from loadtests.load.overload import is_sound


@pytest.mark.parametrize(
    "reply",
    [
        Reply("right", 200, "text"),
        Reply("refused", 503, code="overloaded", retry_after_s=3.0),
        Reply("late", 503, code="queue_timeout", retry_after_s=3.0),
        Reply("late", 504, code="deadline_exceeded", discourages_retry=True),
        Reply("late", 504, code="stage_timeout", retry_after_s=1.0),
    ],
)
def test_who_has_his_text_or_heard_whether_to_retry_is_served_soundly(reply: Reply) -> None:
    assert is_sound(reply)


@pytest.mark.parametrize(
    "reply",
    [
        Reply("refused", 503, code="overloaded"),
        Reply("late", 503, code="queue_timeout", discourages_retry=True),
        Reply("late", 504, code="deadline_exceeded"),
        Reply("malformed", 200, code="unreadable"),
        Reply("error", 500, code="internal_error", retry_after_s=1.0),
        Reply("no answer", code="ConnectionResetError"),
        Reply("stuck", code="TimeoutError"),
    ],
)
def test_everybody_else_is_not(reply: Reply) -> None:
    assert not is_sound(reply)
