"""A run that was cut off goes on where it stopped."""

from pathlib import Path

import pytest

from loadtests.benchmarks.accuracy.contenders import Transcription
from loadtests.benchmarks.accuracy.journal import Journal, Turn

SUBJECT = {"model": "base", "corpus": "speech"}
HELLO = Transcription(200, "", "Hello. 你好", "en", 0.5)


def written(path: Path) -> None:
    journal = Journal(path, SUBJECT)
    journal.resume()
    journal.answered("service", "a.wav", HELLO)
    journal.finished("service", Turn(1.5, 3.0, 2))


def test_what_was_answered_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "results" / "answers.jsonl"
    written(path)
    journal = Journal(path, SUBJECT)
    journal.resume()
    assert journal.answers["service"] == {"a.wav": HELLO}
    assert journal.turns["service"] == [Turn(1.5, 3.0, 2)]
    assert journal.answers["another"] == {}


def test_a_line_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    written(path)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"contender": "service", "file": "b.wa')
    for _ in range(2):
        journal = Journal(path, SUBJECT)
        journal.resume()
        assert list(journal.answers["service"]) == ["a.wav"]
        journal.answered("service", "a.wav", HELLO)


def test_another_subject_does_not_continue_a_run(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    written(path)
    with pytest.raises(ValueError, match="Name another --output"):
        Journal(path, {**SUBJECT, "model": "small"}).resume()
