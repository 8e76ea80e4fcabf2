"""The speakers of utterances, told apart over a session by what they sound like."""

from __future__ import annotations

import numpy as np

from deployments.ingress.live.session_voices import ALIKE, SessionVoices
from deployments.ingress.transcript.speakers import Speakers
from deployments.shared.contracts import Diarized, Speaker, StageTiming

TIMING = StageTiming(0.0, 0.0, 1, "replica", "cpu:test")
ANN, BOB, CID = np.eye(3)


def utterance(*speakers: str | np.ndarray) -> Speakers:
    """Return what is known of an utterance's speakers: the names of some, and what the others sound like."""
    found = [
        Speaker(each, -20.0, (0.0, 0.0, 0.0)) if isinstance(each, str) else Speaker(None, -20.0, tuple(each))
        for each in speakers
    ]
    return Speakers(Diarized(tuple(found), (), TIMING))


def like(voice: np.ndarray, other: np.ndarray, cosine: float) -> np.ndarray:
    """Return a voice that is so like another one."""
    return cosine * voice + float(np.sqrt(1 - cosine**2)) * other


def test_a_voice_that_comes_again_keeps_its_letter() -> None:
    voices = SessionVoices()
    assert voices.labels(utterance(ANN)) == {"A": "A"}
    assert voices.labels(utterance(BOB)) == {"A": "B"}
    assert voices.labels(utterance(like(ANN, CID, 0.6))) == {"A": "A"}
    assert voices.labels(utterance(like(BOB, CID, ALIKE + 0.01), ANN)) == {"A": "B", "B": "A"}


def test_a_voice_that_is_like_none_is_a_new_one() -> None:
    voices = SessionVoices()
    voices.labels(utterance(ANN))
    assert voices.labels(utterance(like(ANN, BOB, ALIKE - 0.01))) == {"A": "B"}


def test_two_of_one_utterance_are_two_although_both_are_like_one() -> None:
    voices = SessionVoices()
    voices.labels(utterance(ANN))
    assert voices.labels(utterance(like(ANN, BOB, 0.5), like(ANN, CID, 0.7))) == {"A": "B", "B": "A"}


def test_a_voice_is_the_mean_of_what_was_heard_of_it() -> None:
    voices = SessionVoices()
    for heard in (ANN, like(ANN, BOB, 0.8), like(ANN, BOB, 0.6)):
        assert voices.labels(utterance(heard)) == {"A": "A"}
    assert voices.labels(utterance(BOB)) == {"A": "A"}, "by now it is like that: 0.5"


def test_names_stay_and_no_stranger_gets_one() -> None:
    voices = SessionVoices()
    assert voices.labels(utterance("A", ANN)) == {"A": "A", "B": "B"}
    assert voices.labels(utterance("Zoe", ANN, BOB)) == {"Zoe": "Zoe", "A": "B", "B": "A"}


def test_nobody_is_nobody() -> None:
    assert SessionVoices().labels(utterance()) == {}
