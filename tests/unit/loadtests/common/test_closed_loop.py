"""In which order a closed loop sends its clips, and when it ends."""

from __future__ import annotations

import itertools
import time

from loadtests.common.closed_loop import LoadResult, following


def test_whole_passes_end_with_the_last_item_once_the_time_is_over() -> None:
    assert list(following("abc", 0.0, whole_passes=True)) == ["a", "b", "c"]
    queue = following("abc", 0.05, whole_passes=True)
    first = list(itertools.islice(queue, 4))
    time.sleep(0.06)
    assert "".join([*first, *queue]) == "abcabc"


def test_otherwise_the_end_of_the_time_is_the_end() -> None:
    queue = following("abc", 0.05, whole_passes=False)
    first = list(itertools.islice(queue, 4))
    time.sleep(0.06)
    assert ("".join(first), list(queue)) == ("abca", [])


def test_every_different_text_of_a_clip_is_kept() -> None:
    result = LoadResult(seconds=2.0)
    for seconds, text in ((1.0, "red"), (3.0, "red"), (2.0, "blue")):
        result.add("clip", 4.0, seconds, text)
    assert (result.audio_s, result.texts) == (12.0, {"clip": {"red", "blue"}})
    assert (result.requests_per_s, result.percentile_ms(50)) == (1.5, 2000.0)
