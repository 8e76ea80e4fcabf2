"""Who speaks when: sounds without speech, very short ones, and people (where ``SPEECH_CORPUS`` names recordings)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray
from openvino.properties import hint

from deployments.diarizer import segmentation, voices
from deployments.diarizer.diarization import Diarization, diarize
from deployments.diarizer.segmentation import BATCH, chunk_starts
from deployments.shared.frames import SAMPLE_RATE
from loadtests.benchmarks.diarization.dialogues import Dialogue, make_dialogues, read_sentences
from loadtests.benchmarks.diarization.error_rate import COLLAR_S, speaker_errors
from loadtests.benchmarks.diarization.timeline import Spoken, read_rttm
from loadtests.common.speech import CORPUS_VARIABLE, read_pcm
from tests.support.paths import AUDIO
from tests.support.spoken_clips import pcm_of

MOST_WRONG = 0.12
"""Diarization error rate without a collar that a dialogue may have."""

NOISE = np.random.default_rng(0)

needs_corpus = pytest.mark.skipif(
    CORPUS_VARIABLE not in os.environ, reason=f"needs recordings of people: {CORPUS_VARIABLE} names their directory"
)


def time_of(seconds: float) -> NDArray[np.float64]:
    return np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE


def chords(seconds: float) -> NDArray[np.int16]:
    """Return three tones that change twice a second and fade, as music does."""
    time = time_of(seconds)
    roots = 220.0 * 2.0 ** (np.array([0, 5, 7, 3])[(2 * time).astype(int) % 4] / 12)
    tones = sum(np.sin(2 * np.pi * ratio * np.cumsum(roots) / SAMPLE_RATE) for ratio in (1.0, 1.26, 1.5))
    return np.asarray(5000 * tones * np.exp(-3 * (time % 0.5)), np.int16)


SOUNDS = {
    "nothing": np.zeros(0, np.int16),
    "a sample": np.array([1000], np.int16),
    "0.2 s of silence": np.zeros(3200, np.int16),
    "0.2 s of noise": NOISE.normal(0, 3000, 3200).astype(np.int16),
    "half a minute of silence": np.zeros(30 * SAMPLE_RATE, np.int16),
    "noise": NOISE.normal(0, 3000, 15 * SAMPLE_RATE).astype(np.int16),
    "full scale": np.where(NOISE.random(15 * SAMPLE_RATE) < 0.5, -32768, 32767).astype(np.int16),
    "music": chords(15.0),
    "a tone": (8000 * np.sin(2 * np.pi * 440 * time_of(12.0))).astype(np.int16),
}


def errors(pcm: NDArray[np.int16], found: Diarization) -> list[str]:
    """Return what is impossible in an answer."""
    seconds = len(pcm) / SAMPLE_RATE
    speakers = list(dict.fromkeys(turn.speaker for turn in found.turns))
    checks = {
        "speakers are numbered as they begin to speak": speakers == list(range(len(speakers))),
        "each speaker has a voice": len(found.voices) == len(speakers),
        "turns are in order": found.turns == sorted(found.turns, key=lambda turn: turn.start_s),
        "turns are in the recording": all(0 <= turn.start_s < turn.end_s <= seconds for turn in found.turns),
        "each speaker has a level": len(found.levels_db) == len(speakers),
        "levels are those of sound": all(-100 <= level_db <= 3 for level_db in found.levels_db),
    }
    return [what for what, holds in checks.items() if not holds]


@pytest.mark.parametrize("bounds", [(None, None), (2, 4), (3, 3), (None, 1)], ids=str)
@pytest.mark.parametrize("name", SOUNDS)
def test_any_sound_has_an_answer(name: str, bounds: tuple[int | None, int | None]) -> None:
    found = diarize(SOUNDS[name], *bounds)
    assert errors(SOUNDS[name], found) == []


@pytest.mark.parametrize(
    "name", ["nothing", "a sample", "0.2 s of silence", "half a minute of silence", "noise", "a tone"]
)
def test_nobody_speaks_where_there_is_no_speech(name: str) -> None:
    found = diarize(SOUNDS[name], None, None)
    assert found.turns == []
    assert found.voices.shape == (0, 192)


def test_it_gets_on_after_each_batch_of_chunks_and_after_the_comparison() -> None:
    pcm = np.tile(pcm_of(sorted(AUDIO.glob("*.wav"))[0]), 20)[: 25 * SAMPLE_RATE]
    steps: list[None] = []
    diarize(pcm, None, None, lambda: steps.append(None))
    assert len(steps) == -(-len(chunk_starts(len(pcm))) // BATCH) + 1


class StopError(Exception):
    """What ends the work."""


def test_what_progress_raises_ends_the_work() -> None:
    def stop() -> None:
        raise StopError

    with pytest.raises(StopError):
        diarize(SOUNDS["music"], None, None, stop)


@cache
def corpus() -> Path:
    return Path(os.environ[CORPUS_VARIABLE])


def pcm_from(file: str) -> NDArray[np.int16]:
    return np.frombuffer(read_pcm(corpus() / file), np.int16)


@cache
def dialogue_of_four() -> Dialogue:
    """Return a constructed dialogue of four readers, all of whom speak in its first half minute."""
    *_, last = make_dialogues(read_sentences(corpus()), 2)
    return last


def beginning(turns: Iterable[Spoken], seconds: float) -> list[Spoken]:
    """Return what is spoken in the first ``seconds``."""
    return [replace(turn, end_s=min(turn.end_s, seconds)) for turn in turns if turn.start_s < seconds]


def spoken(found: Diarization) -> list[Spoken]:
    return [Spoken(turn.start_s, turn.end_s, str(turn.speaker)) for turn in found.turns]


@contextmanager
def models_in(precision: openvino.Type) -> Iterator[None]:
    """Let the models compute in a precision, as far as the machine has it."""

    core = openvino.Core()

    class Core:
        def read_model(self, path: Path) -> Any:
            return core.read_model(path)

        def compile_model(self, model: Any, device: str, settings: dict[Any, Any]) -> Any:
            return core.compile_model(model, device, {**settings, hint.inference_precision: precision})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(openvino, "Core", Core)
        patched.setattr(segmentation, "_model", cache(segmentation._model.__wrapped__))
        patched.setattr(voices, "_model", cache(voices._model.__wrapped__))
        yield


@needs_corpus
class TestPeople:
    @pytest.mark.parametrize(
        ("file", "collar_s"),
        [
            ("diarization/dialogue_2spk_1688_3005.flac", 0.0),
            # Its reference ends a turn at each pause of a second, which is within a turn here: only a collar is fair.
            ("diarization/katiesteve.wav", COLLAR_S),
        ],
    )
    def test_recordings_have_their_speakers(self, file: str, collar_s: float) -> None:
        pcm = pcm_from(file)[: 60 * SAMPLE_RATE]
        found = diarize(pcm, None, None)
        assert errors(pcm, found) == []
        assert len(found.voices) == 2
        expected = beginning(read_rttm((corpus() / file).with_suffix(".rttm")), 60)
        wrong = speaker_errors(expected, spoken(found), collar_s)
        assert wrong.rate <= MOST_WRONG
        assert wrong.confused_s < 0.01 * wrong.spoken_s

    def test_four_readers_are_told_apart(self) -> None:
        dialogue = dialogue_of_four()
        found = diarize(dialogue.pcm[: 90 * SAMPLE_RATE], None, None)
        assert len(found.voices) == 4
        assert speaker_errors(beginning(dialogue.turns, 90), spoken(found)).rate <= MOST_WRONG

    @pytest.mark.parametrize("number", [1, 2, 4, 5])
    def test_a_number_of_speakers_that_somebody_knows_is_kept(self, number: int) -> None:
        assert len(diarize(dialogue_of_four().pcm[: 30 * SAMPLE_RATE], number, number).voices) == number

    def test_turns_of_half_a_second_have_an_answer(self) -> None:
        one, other = pcm_from("librispeech/1688-142285-0000.flac"), pcm_from("librispeech/2033-164914-0000.flac")
        half = SAMPLE_RATE // 2
        parts = [part[i : i + half] for i in range(SAMPLE_RATE, 8 * SAMPLE_RATE, half) for part in (one, other)]
        pcm = np.concatenate(parts)
        found = diarize(pcm, None, None)
        assert errors(pcm, found) == []
        assert found.turns

    def test_both_precisions_give_the_same_turns(self) -> None:
        pcm = dialogue_of_four().pcm[: 30 * SAMPLE_RATE]
        found = []
        for precision in (openvino.Type.f32, openvino.Type.bf16):
            with models_in(precision):
                found.append(diarize(pcm, None, None))
        exact, rounded = found
        assert len(exact.voices) == len(rounded.voices)
        assert speaker_errors(spoken(exact), spoken(rounded)).rate < 0.01
