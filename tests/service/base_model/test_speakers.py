"""Who spoke, with human voices and real Whisper, as OpenAI's client asks for it."""

from __future__ import annotations

import base64
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import pytest
import requests
from openai import BadRequestError, OpenAI
from openai.types.audio import TranscriptionDiarized

from loadtests.common.speech import CORPUS_VARIABLE
from tests.support.service_helpers import corpus_file, normal, replicas, slots_in_use, wait_until, wav

pytestmark = pytest.mark.skipif(
    CORPUS_VARIABLE not in os.environ, reason="needs dialogues: SPEECH_CORPUS names the directory of the corpus"
)

DIALOGUE = "diarization/dialogue_2spk_1688_3005"
READER = "1688"


def ask(client: OpenAI, audio: Any, **fields: Any) -> Any:
    asked = {"model": "whisper-1", "response_format": "diarized_json", **fields}
    return client.audio.transcriptions.create(file=audio, timeout=280, **asked)


def spoken() -> list[tuple[str, str]]:
    """The words of the dialogue, and who says each."""
    lines = corpus_file(f"{DIALOGUE}.stm").read_text("utf-8").splitlines()
    turns = [line.split(maxsplit=6) for line in lines]
    return [(word, turn[2]) for turn in turns for word in normal(turn[6]).split()]


def wrong_speakers(found: TranscriptionDiarized) -> float:
    """The share of the words that were understood and have the wrong speaker, however the speakers are called."""
    heard = [(word, each.speaker) for each in found.segments for word in normal(each.text).split()]
    said = spoken()
    matcher = SequenceMatcher(None, [word for word, _ in said], [word for word, _ in heard], autojunk=False)
    pairs = Counter(
        (said[block.a + i][1], heard[block.b + i][1])
        for block in matcher.get_matching_blocks()
        for i in range(block.size)
    )
    right = sum(max(pairs[reader, label] for reader in ("1688", "3005")) for label in {label for _, label in pairs})
    return 1 - right / pairs.total()


def test_each_word_of_a_dialogue_is_by_the_right_speaker(real: OpenAI) -> None:
    found = ask(real, corpus_file(f"{DIALOGUE}.flac"))
    assert isinstance(found, TranscriptionDiarized)
    assert {segment.speaker for segment in found.segments} == {"A", "B"}
    assert found.segments[0].speaker == "A"
    assert wrong_speakers(found) <= 0.02


def test_a_known_voice_has_its_name_and_a_stranger_a_letter(real: OpenAI) -> None:
    voice = base64.b64encode(corpus_file("librispeech/1688-142285-0003.flac").read_bytes()).decode()
    known = {"known_speaker_names": [READER], "known_speaker_references": [f"data:audio/flac;base64,{voice}"]}
    found = ask(real, corpus_file(f"{DIALOGUE}.flac"), **known)
    assert {segment.speaker for segment in found.segments} == {READER, "A"}
    assert wrong_speakers(found) <= 0.02


@pytest.mark.parametrize("count", [1, 2, 3])
def test_there_are_as_many_speakers_as_the_client_says(real: OpenAI, count: int) -> None:
    fields = {"extra_body": {"min_speakers": count, "max_speakers": count}}
    found = ask(real, corpus_file("diarization/katiesteve.wav"), **fields)
    assert len({segment.speaker for segment in found.segments}) == count


def test_names_stand_before_the_text(human: str) -> None:
    def text(**fields: str) -> str:
        with corpus_file("diarization/katiesteve.wav").open("rb") as file:
            answer = requests.post(
                f"{human}/v1/audio/transcriptions",
                files={"file": file},
                data={"diarize": "true", **fields},
                timeout=280,
            )
        assert answer.status_code == 200, answer.text
        return answer.text

    with ThreadPoolExecutor(3) as clients:
        lines, srt, vtt = clients.map(lambda name: text(response_format=name), ("text", "srt", "vtt"))
    assert [line[:3] for line in lines.splitlines()] == ["A: ", "B: ", "A: ", "B: ", "A: ", "B: "]
    assert "\nA: Good morning, Steve" in srt
    assert "<v B>Good morning, Katie" in vtt


def test_what_has_no_voice_has_no_speakers(real: OpenAI) -> None:
    rng = np.random.default_rng(3)
    silence = np.zeros(16_000 * 3, np.int16)
    noise = (rng.standard_normal(16_000 * 5) * 500).astype(np.int16)
    for pcm in (silence, noise):
        assert ask(real, ("a.wav", wav(pcm))).segments == []


def test_a_reference_that_is_too_short_is_named(real: OpenAI) -> None:
    voice = base64.b64encode(wav(np.zeros(16_000, np.int16))).decode()
    known = {"known_speaker_names": ["ann"], "known_speaker_references": [f"data:audio/wav;base64,{voice}"]}
    with pytest.raises(BadRequestError, match=r"'ann'.* send 2 to 10 s") as refused:
        ask(real, corpus_file("diarization/katiesteve.wav"), **known)
    assert refused.value.param == "known_speaker_references"


def test_a_diarizer_that_is_killed_costs_time_but_no_request(human: str, real: OpenAI) -> None:
    with ThreadPoolExecutor(2) as clients:
        answers = [clients.submit(ask, real, corpus_file(f"{DIALOGUE}.flac")) for _ in range(2)]
        time.sleep(1.0)
        (victim,) = replicas("base", "Diarizer")
        victim.kill()
        assert all(wrong_speakers(answer.result()) <= 0.02 for answer in answers)
    wait_until(lambda: slots_in_use(human) == 0, 30)
