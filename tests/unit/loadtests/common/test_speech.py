"""The speech of load tests: people where there are recordings of them, the same choice every time."""

from __future__ import annotations

import argparse
import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest

from deployments.mel.decoding import decode
from loadtests.common import speech
from loadtests.common.paths import DEMO_MODEL
from loadtests.common.speech import CLIPS, CORPUS_VARIABLE, LIMITS, hour_of, human, speech_for, synthetic
from loadtests.common.wav import RATE, seconds_of, wav_of
from loadtests.load.subject import Subject, add_subject, subject_of

COLUMNS = ("file", "category", "lang", "seconds", "reference")


def corpus(directory: Path, *, clips: int = 20) -> Path:
    """Tones of 1 to 20 s as English read speech, one German clip, and a file of a minute."""
    rows = [(f"read{number}.wav", "read_speech", "en", 1.0 + number, "WORDS") for number in range(clips)]
    rows += [("german.wav", "read_speech", "de", 5.0, "WORTE"), ("minute.wav", "longform", "en", 60.0, "MANY WORDS")]
    with (directory / "manifest.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerows([COLUMNS, *rows])
    for name, _, _, seconds, _ in rows:
        tone = (1000 * np.sin(np.arange(int(seconds * RATE)) / 10)).astype(np.int16)
        (directory / name).write_bytes(wav_of(tone.tobytes()))
    return directory


def options(*arguments: str) -> Subject:
    parser = argparse.ArgumentParser()
    add_subject(parser)
    return subject_of(parser.parse_args(arguments))


def test_clips_of_a_corpus_are_english_of_3_to_15_s_and_the_longest_files_are_its_longform(tmp_path: Path) -> None:
    found = human(corpus(tmp_path))
    assert len(found.clips) == CLIPS
    assert all(3 <= clip.seconds <= 15 and clip.name.startswith("read") for clip in found.clips)
    assert [clip.seconds for clip in found.clips] == sorted(clip.seconds for clip in found.clips)
    assert {file.size for file in found.files} == {"short", "long", "minutes"}
    assert found.files[-1].name == "minute"
    assert found.files[-1].seconds == pytest.approx(60.0)
    assert [clip.name for clip in human(tmp_path).clips] == [clip.name for clip in found.clips]


def test_a_corpus_without_enough_speech_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has 4 English clips of 3 to 15 s: a load test needs at least 12"):
        human(corpus(tmp_path, clips=6))


@pytest.mark.skipif(CORPUS_VARIABLE not in os.environ, reason=f"{CORPUS_VARIABLE} names no directory of human speech")
def test_the_real_corpus_gives_clips_of_people_and_files_of_minutes() -> None:
    found = human(Path(os.environ[CORPUS_VARIABLE]))
    assert len({clip.spoken for clip in found.clips}) == CLIPS
    assert max(file.seconds for file in found.files if file.size == "minutes") > 60


def test_without_a_corpus_a_real_model_hears_the_people_of_the_tree_beside_the_synthetic_voices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ann.wav").write_bytes(wav_of(bytes(2 * RATE * 11)))
    (tmp_path / "README.md").write_text("whose voice this is", encoding="utf-8")
    monkeypatch.setattr(speech, "HUMAN", tmp_path)
    mixed, alone = speech_for(synthetic_only=False, corpus=None), speech_for(synthetic_only=True, corpus=None)
    assert {clip.name for clip in mixed.clips} - {clip.name for clip in alone.clips} == {"ann"}
    assert len(mixed.clips) % 2 == 0
    assert {file.name for file in mixed.files} - {file.name for file in alone.files} == {"ann"}
    assert alone == synthetic()


@pytest.mark.parametrize("seconds", [60.0, 300.5])
def test_clips_are_joined_to_a_file_of_any_length(seconds: float) -> None:
    joined = hour_of(synthetic(), seconds)
    assert joined.startswith(b"fLaC")
    assert seconds_of(decode(io.BytesIO(joined), LIMITS).mono.tobytes()) == pytest.approx(seconds)


def test_an_hour_can_be_uploaded() -> None:
    minute = len(hour_of(synthetic(), 60.0))
    assert 60 * minute < 100 * 2**20


def test_the_test_model_is_the_default_and_ignores_the_corpus_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CORPUS_VARIABLE, str(tmp_path))
    assert options() == Subject(str(DEMO_MODEL), None)
    assert options("--model", "base") == Subject("base", tmp_path)
    assert options("--speech", str(tmp_path)) == Subject(str(DEMO_MODEL), tmp_path)


def test_a_model_of_a_directory_is_named_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CORPUS_VARIABLE, raising=False)
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    subject = options("--model", "weights", "--speech", "weights")
    assert subject == Subject(str(tmp_path / "weights"), tmp_path / "weights")
    assert options(*subject.arguments) == subject
