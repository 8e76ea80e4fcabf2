"""Diarization error rates equal those of pyannote.metrics, and are what a person counts in small cases."""

from __future__ import annotations

import random
from typing import Any

import pytest

from loadtests.benchmarks.diarization.error_rate import COLLAR_S, SpeakerErrors, best_names, speaker_errors
from loadtests.benchmarks.diarization.timeline import Spoken

ANN_THEN_BOB = [Spoken(0.0, 4.0, "Ann"), Spoken(5.0, 10.0, "Bob")]


def random_turns(rng: random.Random, names: str, *, overlaps: bool) -> list[Spoken]:
    turns: list[Spoken] = []
    for name in names:
        at = rng.uniform(0, 5)
        for _ in range(rng.randrange(1, 8)):
            end = at + rng.uniform(0.2, 6)
            turns.append(Spoken(at, end, name))
            at = end + rng.uniform(0.6, 6)
    return turns if overlaps else one_after_the_other(turns)


def one_after_the_other(turns: list[Spoken]) -> list[Spoken]:
    in_order, at = [], 0.0
    for turn in sorted(turns, key=lambda turn: turn.start_s):
        end = at + turn.end_s - turn.start_s
        in_order.append(Spoken(at, end, turn.speaker))
        at = end + 0.3
    return in_order


def damaged(rng: random.Random, turns: list[Spoken]) -> list[Spoken]:
    """Return the turns as somebody might find them: with edges that are off, some missing, some given to others."""
    names = sorted({turn.speaker for turn in turns})
    kept = [turn for turn in turns if turn.end_s - turn.start_s > 0.7 and rng.random() < 0.9]
    return [
        Spoken(
            turn.start_s + rng.uniform(-0.1, 0.4),
            turn.end_s + rng.uniform(-0.2, 0.3),
            "found " + (turn.speaker if rng.random() < 0.8 else rng.choice(names)),
        )
        for turn in kept
    ]


def annotation(turns: list[Spoken]) -> Any:
    """Return the turns as an annotation of pyannote."""
    from pyannote.core import Annotation, Segment  # noqa: PLC0415  (see below)

    made = Annotation()
    for number, turn in enumerate(turns):
        made[Segment(turn.start_s, turn.end_s), number] = turn.speaker
    return made.support()


def found_by_pyannote(spoken: list[Spoken], found: list[Spoken], collar_s: float) -> dict[str, Any]:
    # Seconds of CPU, which only the worker that runs these tests spends.
    from pyannote.core import Segment, Timeline  # noqa: PLC0415
    from pyannote.metrics.diarization import DiarizationErrorRate  # noqa: PLC0415

    metric = DiarizationErrorRate(collar=2 * collar_s)  # pyannote's collar is both sides together
    everything = Timeline([Segment(-10, 500)])
    answer: dict[str, Any] = metric(annotation(spoken), annotation(found), uem=everything, detailed=True)
    return answer


@pytest.mark.parametrize("collar_s", [0.0, COLLAR_S])
@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_random_timelines_have_the_errors_that_pyannote_finds(seed: int, overlaps: bool, collar_s: float) -> None:
    rng = random.Random(seed)
    spoken = random_turns(rng, "abcd"[: 1 + seed % 4], overlaps=overlaps)
    found = damaged(rng, spoken)
    ours, theirs = speaker_errors(spoken, found, collar_s), found_by_pyannote(spoken, found, collar_s)
    assert ours.spoken_s == pytest.approx(theirs["total"], abs=1e-3)
    assert ours.missed_s == pytest.approx(theirs["missed detection"], abs=1e-3)
    assert ours.false_s == pytest.approx(theirs["false alarm"], abs=1e-3)
    assert ours.confused_s == pytest.approx(theirs["confusion"], abs=1e-3)
    assert ours.rate == pytest.approx(theirs["diarization error rate"], abs=1e-4)


def test_names_do_not_count() -> None:
    found = [Spoken(0.0, 4.0, "B"), Spoken(5.0, 10.0, "A")]
    assert speaker_errors(ANN_THEN_BOB, found) == SpeakerErrors(9.0, 0.0, 0.0, 0.0)


def test_one_voice_for_two_confuses_the_shorter_one() -> None:
    found = [Spoken(0.0, 4.0, "A"), Spoken(5.0, 10.0, "A")]
    assert speaker_errors(ANN_THEN_BOB, found) == SpeakerErrors(9.0, 0.0, 0.0, 4.0)


def test_the_pause_is_false_and_what_is_not_found_is_missed() -> None:
    errors = speaker_errors(ANN_THEN_BOB, [Spoken(0.0, 5.0, "A"), Spoken(7.0, 10.0, "B")])
    assert (errors.missed_s, errors.false_s, errors.confused_s) == pytest.approx((2.0, 1.0, 0.0))
    assert errors.rate == pytest.approx(3 / 9)


def test_two_at_once_count_twice() -> None:
    spoken = [Spoken(0.0, 4.0, "Ann"), Spoken(2.0, 4.0, "Bob")]
    assert speaker_errors(spoken, [Spoken(0.0, 4.0, "A")]) == SpeakerErrors(6.0, 2.0, 0.0, 0.0)


def test_a_collar_forgives_edges_only() -> None:
    found = [Spoken(0.2, 4.2, "A"), Spoken(5.2, 9.8, "B")]
    assert speaker_errors(ANN_THEN_BOB, found).wrong_s == pytest.approx(0.2 + 0.2 + 0.2 + 0.2)
    assert speaker_errors(ANN_THEN_BOB, found, COLLAR_S).wrong_s == pytest.approx(0.0)
    assert speaker_errors(ANN_THEN_BOB, found, COLLAR_S).spoken_s == pytest.approx(3.5 + 4.5)


def test_nothing_found_is_all_missed() -> None:
    assert speaker_errors(ANN_THEN_BOB, []).rate == 1.0


def test_where_nobody_speaks_anything_found_is_wrong() -> None:
    assert speaker_errors([], []).rate == 0.0
    errors = speaker_errors([], [Spoken(1.0, 2.0, "A")])
    assert (errors.false_s, errors.rate) == (1.0, float("inf"))


def test_the_names_that_fit_best_leave_out_who_fits_none() -> None:
    found = [Spoken(0.0, 3.0, "A"), Spoken(3.0, 4.0, "B"), Spoken(5.0, 10.0, "C"), Spoken(20.0, 21.0, "D")]
    assert best_names(ANN_THEN_BOB, found) == {"A": "Ann", "C": "Bob"}
    assert best_names(ANN_THEN_BOB, []) == {}
