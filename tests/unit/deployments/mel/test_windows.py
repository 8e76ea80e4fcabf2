"""Windows of speech: the rules that make stretches of probabilities, and windows of stretches."""

from __future__ import annotations

import csv
import itertools
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deployments.mel import speech
from deployments.mel.decoding import decode
from deployments.mel.speech import MIN_SPEECH_CHUNKS, SPEECH_THRESHOLD
from deployments.mel.track_decoding import AudioLimits
from deployments.mel.windows import MIN_AUDIO, PADDING, find_windows
from deployments.shared.contracts import SpeechOptions, VoiceOptions, Window
from deployments.shared.frames import SAMPLE_RATE
from deployments.shared.voice_chunks import CHUNK
from tests.support.paths import AUDIO
from tests.support.spoken_clips import pcm_of

CLIPS = sorted(AUDIO.glob("*.wav"))
LONG_CLIPS = [clip for clip in CLIPS if "long" in clip.stem]

needs_corpus = pytest.mark.skipif(
    "SPEECH_CORPUS" not in os.environ, reason="needs recordings of people: SPEECH_CORPUS names their directory"
)


def decoded(path: Path) -> NDArray[np.int16]:
    with path.open("rb") as file:
        return decode(file, AudioLimits(3600, 8, 60)).mono


AS_IT_IS = VoiceOptions()


def windows_of(
    pcm: NDArray[np.int16], max_window_s: float = 10.0, voice: VoiceOptions = AS_IT_IS
) -> tuple[Window, ...]:
    return find_windows(pcm, SpeechOptions(vad_filter=True, max_window_s=max_window_s, voice=voice))


@pytest.mark.parametrize("amplitude", [0, 1, 30])
def test_no_windows_where_nobody_speaks(amplitude: int) -> None:
    noise = np.random.default_rng(0).normal(0, amplitude, 5 * SAMPLE_RATE).astype(np.int16)
    assert windows_of(noise) == ()


def test_no_windows_without_audio() -> None:
    empty = np.zeros(0, np.int16)
    assert windows_of(empty) == ()
    assert find_windows(empty, SpeechOptions(vad_filter=False, max_window_s=30)) == ()


def test_one_sentence_between_silences_is_one_window_around_it() -> None:
    sentence = pcm_of(AUDIO / "05_flite-slt.wav")
    silence = np.zeros(3 * SAMPLE_RATE, np.int16)
    (window,) = windows_of(np.concatenate([silence, sentence, silence]))
    loud = np.flatnonzero(np.abs(sentence.astype(np.int32)) > 1000) / SAMPLE_RATE + 3.0
    assert 3.0 - 0.3 < window.start_s < loud[0] < loud[-1] < window.end_s < 3.0 + len(sentence) / SAMPLE_RATE + 0.3


@pytest.mark.parametrize("clip", LONG_CLIPS, ids=lambda path: path.stem)
@pytest.mark.parametrize("max_window_s", [3.0, 5.0, 10.0, 30.0])
def test_long_clips_are_covered_by_windows(clip: Path, max_window_s: float) -> None:
    pcm = pcm_of(clip)
    windows = windows_of(pcm, max_window_s)
    assert len(windows) >= len(pcm) / SAMPLE_RATE // max_window_s
    assert all(window.duration_s <= max_window_s + 1e-9 for window in windows)
    heard = sum(len(pcm[window.samples]) for window in windows) / len(pcm)
    assert heard > 0.85


def test_windows_end_in_pauses() -> None:
    pcm = pcm_of(AUDIO / "12_flite-rms-long.wav")
    for window in windows_of(pcm)[:-1]:
        end = round(window.end_s * SAMPLE_RATE)
        assert np.abs(pcm[end - 400 : end + 400].astype(np.int32)).max() < 500


def fixed_windows(pcm: NDArray[np.int16], max_window_s: float) -> tuple[Window, ...]:
    return find_windows(pcm, SpeechOptions(vad_filter=False, max_window_s=max_window_s))


def test_without_vad_the_windows_cover_everything_and_end_in_pauses() -> None:
    pcm = pcm_of(AUDIO / "12_flite-rms-long.wav")
    windows = fixed_windows(pcm, 10)
    np.testing.assert_array_equal(np.concatenate([pcm[window.samples] for window in windows]), pcm)
    for window in windows[:-1]:
        assert 10 * 2 / 3 <= window.duration_s <= 10
        end = round(window.end_s * SAMPLE_RATE)
        assert np.abs(pcm[end - 400 : end].astype(np.int32)).max() < 500


@pytest.mark.parametrize("n_samples", [30 * SAMPLE_RATE, 30 * SAMPLE_RATE + 3, 30 * SAMPLE_RATE + 15_999])
def test_without_vad_a_tail_joins_its_neighbour(n_samples: int) -> None:
    pcm = np.random.default_rng(0).integers(-3000, 3000, n_samples).astype(np.int16)
    windows = fixed_windows(pcm, 30)
    assert len(windows) == (1 if n_samples == 30 * SAMPLE_RATE else 2)
    assert windows[-1].duration_s >= 5
    assert windows[-1].end_s == n_samples / SAMPLE_RATE


@settings(max_examples=60, deadline=None)
@given(
    seconds=st.floats(0.11, 130),
    max_window_s=st.sampled_from([1.0, 5.0, 15.0, 30.0]),
    loudness=st.sampled_from([0, 20, 3000]),
)
def test_properties_of_windows_without_vad(seconds: float, max_window_s: float, loudness: int) -> None:
    pcm = np.random.default_rng(0).integers(-loudness, loudness + 1, round(seconds * SAMPLE_RATE)).astype(np.int16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speech, "speech_probabilities", lambda pcm: np.zeros(-(-len(pcm) // CHUNK), np.float32))
        windows = fixed_windows(pcm, max_window_s)
    spans = [(window.samples.start, window.samples.stop) for window in windows]
    assert [window.index for window in windows] == list(range(len(windows)))
    assert (spans[0][0], spans[-1][1]) == (0, len(pcm))
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))
    assert all(end - start <= max_window_s * SAMPLE_RATE for start, end in spans)
    shortest = min(5 * SAMPLE_RATE, max_window_s * SAMPLE_RATE / 4) - CHUNK
    assert len(spans) == 1 or all(end - start >= shortest for start, end in spans)


@pytest.mark.parametrize("vad_filter", [True, False])
def test_windows_know_where_somebody_speaks(vad_filter: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence, pause = [0.9] * 62, [0.0] * 62
    probabilities = np.array([*pause, *sentence, *pause, *sentence, *pause], np.float32)
    monkeypatch.setattr(speech, "speech_probabilities", lambda _: probabilities)
    pcm = np.zeros(len(probabilities) * CHUNK, np.int16)
    (window,) = find_windows(pcm, SpeechOptions(vad_filter=vad_filter, max_window_s=30))
    assert window.speech == tuple(
        (start * CHUNK / SAMPLE_RATE, (start + 62) * CHUNK / SAMPLE_RATE) for start in (62, 186)
    )


def test_speech_that_a_cut_divides_is_told_to_both_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "speech_probabilities", lambda _: np.full(200, 0.9, np.float32))
    first, second = windows_of(np.zeros(200 * CHUNK, np.int16), 5.0)
    assert first.speech == ((0.0, first.end_s),)
    assert second.speech == ((first.end_s, 200 * CHUNK / SAMPLE_RATE),)


def test_without_vad_a_silent_window_knows_that_nobody_speaks() -> None:
    silence = np.zeros(40 * SAMPLE_RATE, np.int16)
    assert [window.speech for window in fixed_windows(silence, 30)] == [(), ()]


@pytest.mark.parametrize("vad_filter", [True, False])
@pytest.mark.parametrize("n_samples", [0, 1, 800, MIN_AUDIO])
def test_what_is_too_short_for_a_word_has_no_window(n_samples: int, vad_filter: bool) -> None:
    loud = pcm_of(CLIPS[0])[8000 : 8000 + n_samples]
    assert find_windows(loud, SpeechOptions(vad_filter=vad_filter, max_window_s=30)) == ()


def hesitant(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """A detector that is not sure of what it hears for the first time."""
    doubt = np.full(19, 0.3, np.float32)
    return doubt if len(pcm) <= 19 * CHUNK else np.concatenate([doubt, doubt + 0.15])


def test_a_short_word_that_is_doubtful_at_first_is_heard_with_itself_as_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speech, "speech_probabilities", hesitant)
    pcm = np.zeros(9600, np.int16)
    assert windows_of(pcm) == (Window(0, 0.0, 0.6, ((0.0, 0.6),)),)


@pytest.mark.parametrize("kind", ["silence", "noise", "hum", "click", "chord"])
@pytest.mark.parametrize("seconds", [0.15, 0.3, 0.6, 1.0, 2.0])
def test_a_short_noise_is_no_word(kind: str, seconds: float) -> None:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    signal = {
        "silence": np.zeros_like(time),
        "noise": np.random.default_rng(0).normal(0, 0.2, len(time)),
        "hum": 0.5 * np.sin(2 * np.pi * 50 * time) + 0.2 * np.sin(2 * np.pi * 150 * time),
        "click": np.where(np.abs(time - seconds / 2) < 0.004, 0.9, 0.0),
        "chord": 0.2 * np.sin(2 * np.pi * np.outer((262, 330, 392), time)).sum(axis=0),
    }[kind]
    assert windows_of((20_000 * signal).astype(np.int16)) == ()


@needs_corpus
def test_no_short_recording_of_the_corpus_is_silently_empty() -> None:
    corpus = Path(os.environ["SPEECH_CORPUS"])
    with (corpus / "manifest.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["category"] in {"command", "digits"}]
    files = [corpus / row["file"] for row in rows] + [corpus / "cases" / "b13_0.6s.wav"]
    assert len(files) > 10
    unheard = [path.name for path in files if not windows_of(decoded(path), 30.0)]
    assert unheard == []


@needs_corpus
@pytest.mark.parametrize("name", ["b09_silence_5s", "b09_white_noise_20s", "b09_chords_20s"])
def test_no_noise_of_the_corpus_is_speech(name: str) -> None:
    pcm = decoded(Path(os.environ["SPEECH_CORPUS"]) / "cases" / f"{name}.wav")
    assert windows_of(pcm, 30.0) == ()
    for seconds in (0.2, 0.4, 0.6, 1.0, 2.0):
        n_samples = round(seconds * SAMPLE_RATE)
        assert all(windows_of(pcm[i : i + n_samples]) == () for i in range(0, len(pcm) - n_samples, 2 * SAMPLE_RATE))


def test_a_maximum_without_room_for_speech_is_an_error() -> None:
    with pytest.raises(ValueError, match="max_window_s"):
        windows_of(np.zeros(SAMPLE_RATE, np.int16), max_window_s=0.5)


@st.composite
def heard(draw: st.DrawFn) -> NDArray[np.float32]:
    """Probabilities as a detector gives them: runs of speech, doubt and silence."""
    runs = draw(st.lists(st.tuples(st.sampled_from([0.02, 0.4, 0.6, 0.98]), st.integers(1, 150)), max_size=25))
    levels = np.repeat([level for level, _ in runs], [length for _, length in runs])
    wobble = np.random.default_rng(draw(st.integers(0, 1000))).uniform(-0.04, 0.04, len(levels))
    return (levels + wobble).clip(0, 1).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(
    probabilities=heard(),
    max_window_s=st.sampled_from([1.0, 2.5, 10.0, 30.0]),
    missing=st.integers(0, CHUNK - 1),
    silence_s=st.sampled_from([None, 0.0, 0.1, 2.0]),
    padding_s=st.sampled_from([None, 0.0, 0.3, 2.0]),
)
def test_properties_of_windows(
    probabilities: NDArray[np.float32],
    max_window_s: float,
    missing: int,
    silence_s: float | None,
    padding_s: float | None,
) -> None:
    n_samples = max(0, len(probabilities) * CHUNK - missing)
    assume(n_samples > MIN_AUDIO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speech, "speech_probabilities", lambda pcm: np.resize(probabilities, -(-len(pcm) // CHUNK)))
        voice = VoiceOptions(silence_s=silence_s, padding_s=padding_s)
        windows = windows_of(np.zeros(n_samples, np.int16), max_window_s, voice)

    spans = [(window.samples.start, window.samples.stop) for window in windows]
    assert [window.index for window in windows] == list(range(len(windows)))
    assert all(0 <= start < end <= n_samples for start, end in spans)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert all(end - start <= max_window_s * SAMPLE_RATE for start, end in spans)

    covered = np.zeros(len(probabilities) * CHUNK, bool)
    for start, end in spans:
        covered[start:end] = True
    for is_speech, group in itertools.groupby(enumerate(probabilities), lambda pair: pair[1] >= SPEECH_THRESHOLD):
        chunks = [i for i, _ in group]
        if is_speech and len(chunks) >= MIN_SPEECH_CHUNKS:
            assert covered[chunks[0] * CHUNK : min((chunks[-1] + 1) * CHUNK, n_samples)].all()


def spans_of(
    probabilities: list[float], max_window_s: float, monkeypatch: pytest.MonkeyPatch, voice: VoiceOptions = AS_IT_IS
) -> list[tuple[int, int]]:
    monkeypatch.setattr(speech, "speech_probabilities", lambda _: np.array(probabilities, np.float32))
    windows = windows_of(np.zeros(len(probabilities) * CHUNK, np.int16), max_window_s, voice)
    return [(window.samples.start, window.samples.stop) for window in windows]


def test_neighbours_share_a_window_until_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence, pause = [0.9] * 62, [0.0] * 31  # 2 s and 1 s
    spans = spans_of([*pause, *sentence, *pause, *sentence, *pause, *sentence, *pause], 7.0, monkeypatch)
    start, second, third = 31 * CHUNK, (31 + 93) * CHUNK, (31 + 186) * CHUNK
    assert spans == [
        (start - PADDING, second + 62 * CHUNK + PADDING),
        (third - PADDING, third + 62 * CHUNK + PADDING),
    ]


def test_a_very_short_last_window_takes_speech_from_its_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence, word, pause = [0.9] * 124, [0.9] * 31, [0.0] * 31  # 4 s, 1 s and 1 s
    spans = spans_of([*(sentence + pause) * 3, *word], 15.5, monkeypatch)
    assert len(spans) == 2
    assert spans[1][0] == 310 * CHUNK - PADDING, "the third sentence begins the second window"
    alone = spans_of([*(sentence + pause) * 3, *pause * 2, *word], 15.5, monkeypatch)
    assert alone[1][0] == 527 * CHUNK - PADDING, "after a long pause a word is no tail"


@pytest.mark.parametrize(("max_window_s", "n_windows"), [(5.76, 1), (5.75, 2)])
def test_a_window_may_be_exactly_full(max_window_s: float, n_windows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence, pause = [0.9] * 62, [0.0] * 31
    spans = spans_of([*pause, *sentence, *pause, *sentence, *pause], max_window_s, monkeypatch)
    assert (62 + 31 + 62) * CHUNK + 2 * PADDING == 5.76 * SAMPLE_RATE
    assert len(spans) == n_windows


def test_speech_without_a_pause_is_cut_where_it_is_least_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = [0.9] * 200
    probabilities[100] = 0.55
    assert spans_of(probabilities, 5.0, monkeypatch) == [(0, 101 * CHUNK), (101 * CHUNK, 200 * CHUNK)]


def test_a_client_may_say_how_likely_speech_is_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    whisper = [*[0.0] * 62, *[0.3] * 62, *[0.0] * 62]
    assert spans_of(whisper, 10.0, monkeypatch) == []
    (span,) = spans_of(whisper, 10.0, monkeypatch, VoiceOptions(threshold=0.3))
    assert span == (62 * CHUNK - PADDING, 124 * CHUNK + PADDING)
    assert len(spans_of(whisper, 10.0, monkeypatch, VoiceOptions(threshold=0.0))) == 1
    assert spans_of([0.99] * 62, 10.0, monkeypatch, VoiceOptions(threshold=1.0)) == []


def test_a_client_may_say_how_long_a_pause_is_that_ends_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence, pause = [0.9] * 62, [0.0] * 20  # 2 s and 0.64 s
    halves = [*sentence, *pause, *sentence]
    monkeypatch.setattr(speech, "speech_probabilities", lambda _: np.array(halves, np.float32))

    def stretches(silence_s: float | None) -> int:
        (window,) = windows_of(np.zeros(len(halves) * CHUNK, np.int16), 10.0, VoiceOptions(silence_s=silence_s))
        return len(window.speech or ())

    assert [stretches(silence_s) for silence_s in (None, 0.2, 0.64, 0.7)] == [2, 2, 2, 1]


def test_a_client_may_say_how_much_is_kept_before_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence, pause = [0.9] * 62, [0.0] * 124
    audio = [*pause, *sentence, *pause]

    def kept(padding_s: float) -> int:
        ((start, end),) = spans_of(audio, 10.0, monkeypatch, VoiceOptions(padding_s=padding_s))
        assert end == 186 * CHUNK + PADDING
        return 124 * CHUNK - start

    assert [kept(padding_s) for padding_s in (0.0, 0.3, 2.0)] == [0, 0.3 * SAMPLE_RATE, 2 * SAMPLE_RATE]


def test_a_short_noise_gets_no_second_look_where_a_client_says_what_speech_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "_is_a_word", lambda _: True)
    assert spans_of([0.45] * 20, 10.0, monkeypatch) != []
    assert spans_of([0.45] * 20, 10.0, monkeypatch, VoiceOptions(threshold=0.5)) == []


def test_a_click_is_not_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spans_of([0.0] * 30 + [0.9] * (MIN_SPEECH_CHUNKS - 1) + [0.0] * 30, 10.0, monkeypatch) == []


def test_memory_does_not_grow_with_the_audio() -> None:
    pcm = np.tile(pcm_of(CLIPS[3]), 60)  # more than three minutes
    windows_of(pcm[:SAMPLE_RATE])
    tracemalloc.start()
    windows_of(pcm, 30.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.1 * pcm.nbytes
