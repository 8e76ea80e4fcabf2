"""Which recordings of a corpus the throughput benchmark sends."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.benchmarks.accuracy.corpus import CorpusFile
from loadtests.benchmarks.parts.clip_sets import choose, read_clips, synthetic_clips
from loadtests.common.wav import RATE, pcm_of_wav
from tests.support.paths import AUDIO


def recording(file: str, *, category: str = "read_speech", unscored: str = "") -> CorpusFile:
    return CorpusFile(file, category, "en", "ann", 5.0, ("Red cat.",), unscored)


def test_read_speech_is_taken_where_there_is_any_and_nothing_is_named() -> None:
    recordings = [recording("librispeech/a.flac"), recording("phone/b.wav")]
    assert choose(recordings, ()) == recordings[:1]
    assert choose(recordings[1:], ()) == recordings[1:]
    assert choose(recordings, ["phone/*"]) == recordings[1:]
    assert choose(recordings, ["nowhere/*"]) == []


def test_nothing_is_sent_whose_words_are_not_known() -> None:
    recordings = [recording("librispeech/a.flac", unscored="no text is known"), recording("b.wav", category="odd")]
    assert choose(recordings, ()) == choose(recordings, ["*"]) == []


def test_a_clip_is_its_recording_at_whisper_s_rate() -> None:
    found = read_clips(AUDIO, ["01_*", "02_*"])
    (first, second) = found.clips
    assert [first.name, second.name] == list(found.recordings)
    assert len(pcm_of_wav(first.wav)) == pytest.approx(2 * RATE * first.seconds)
    assert first.spoken == found.recordings[first.name].reference
    assert found.mean_s == pytest.approx((first.seconds + second.seconds) / 2)
    assert found.speakers == 2


def test_a_choice_of_nothing_is_refused_and_so_is_a_directory_that_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no recording that matches nowhere/\*"):
        read_clips(AUDIO, ["nowhere/*"])
    with pytest.raises(ValueError, match="Name the directory of a corpus"):
        read_clips(tmp_path)


def test_the_toy_model_is_sent_the_clips_of_the_tree() -> None:
    sent = synthetic_clips()
    assert [clip.name for clip in sent.clips] == list(sent.recordings)
    assert sent.speakers == len(sent.clips)
    assert [clip.spoken for clip in sent.clips] == [one.reference for one in sent.recordings.values()]
