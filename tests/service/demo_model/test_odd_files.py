"""Odd files over HTTP: each is answered or refused, none by an error of the service, and speech is heard in all."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import jiwer
import pytest
import requests

from loadtests.common.speech import CORPUS_VARIABLE
from tests.support.odd_files import SPOKEN, corpus, expects_refusal, odd_files
from tests.support.service_helpers import normal

pytestmark = pytest.mark.skipif(
    CORPUS_VARIABLE not in os.environ, reason="needs odd files: SPEECH_CORPUS names the directory of the corpus"
)

CLIENTS = 6
JFK = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"


def post(url: str, name: str, **fields: str) -> requests.Response:
    with (corpus() / name).open("rb") as file:
        return requests.post(
            f"{url}/v1/audio/transcriptions",
            files={"file": file},
            data={"response_format": "verbose_json", **fields},
            headers={"x-timeout-seconds": "280"},
            timeout=300,
        )


def test_every_odd_file_is_answered_or_refused_as_its_manifest_says(service: str) -> None:
    rows = odd_files()
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(lambda row: post(service, row["file"]), rows))
    assert set(Counter(answer.status_code for answer in answers)) == {200, 400}
    for row, answer in zip(rows, answers, strict=True):
        if answer.status_code == 400:
            assert answer.json()["error"]["code"] == "invalid_audio"
        if expects_refusal(row):
            assert answer.status_code == 400, row


def test_the_same_speech_is_heard_in_every_format(service: str) -> None:
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(lambda name: post(f"{service}/base", f"cases/{name}"), SPOKEN))
    for name, answer in zip(SPOKEN, answers, strict=True):
        assert jiwer.wer(JFK, normal(answer.json()["text"])) < 0.15, name  # narrow bands cost a word or two


def test_a_hole_is_told_and_words_keep_their_times(service: str) -> None:
    fields = {"timestamp_granularities[]": "word"}
    answer = post(f"{service}/base", "cases/b03_mp4_hole_of_3s_at_4s.mp4", **fields)
    document = answer.json()
    assert document["duration"] == pytest.approx(14.0, abs=0.1)
    assert document["warnings"] == ["There is no sound from 4.0 to 7.0 s: silence stands in its place."]
    assert answer.headers["x-warnings"] == document["warnings"][0]
    assert not [word for word in document["words"] if 4.3 < word["start"] < 6.7]
    late = post(f"{service}/base", "cases/b03_mp4_audio_starts_at_4.9s.mp4", **fields).json()
    assert (late["duration"], late["warnings"]) == (pytest.approx(15.9, abs=0.1), [])
    assert late["words"][0]["start"] == pytest.approx(5.2, abs=0.4)


def test_a_file_that_is_cut_off_is_refused_where_it_must_be_whole(service: str) -> None:
    answer = post(service, "odd/made/wav_truncated.wav")
    assert answer.status_code == 200
    assert answer.json()["warnings"] == ["The file is cut off or damaged: its sound ends at 4.2 s of 8.4 s."]
    refused = post(service, "odd/made/wav_truncated.wav", strict="true")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_audio")
