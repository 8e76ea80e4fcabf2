"""Which recordings of a corpus are listened to, and what is known of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtests.benchmarks.diarization.recordings import Recording, write_recordings
from loadtests.benchmarks.diarization.timeline import Said, Spoken
from loadtests.common.speech import flac_of
from loadtests.common.wav import RATE, pcm_of, wav_of

READERS = ("1001", "1002", "1003", "1004")


def tone(seconds: float) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return (3000 * np.sin(np.arange(round(seconds * RATE)) / 20)).astype(np.int16)


def write_corpus(directory: Path) -> None:
    """Write a meeting with its words, a talk without, and read sentences with a manifest."""
    (directory / "meetings").mkdir()
    (directory / "meetings" / "a.flac").write_bytes(flac_of(tone(4.0)))
    (directory / "meetings" / "a.rttm").write_text("SPEAKER a 1 0.5 2.0 <NA> <NA> Ann <NA> <NA>\n", encoding="utf-8")
    (directory / "meetings" / "a.stm").write_text("a 1 Ann 0.5 2.5 <o> HELLO\n", encoding="utf-8")
    (directory / "b.wav").write_bytes(wav_of(tone(2.0).tobytes()))
    (directory / "b.rttm").write_text("SPEAKER b 1 0.0 1.0 <NA> <NA> Bob <NA> <NA>\n", encoding="utf-8")
    (directory / "b.turns.tsv").write_text("Bob\tHello.\n", encoding="utf-8")
    (directory / "librispeech").mkdir()
    rows = ["file\tcategory\tlang\tspeakers\tseconds\treference\ttrust"]
    for reader in READERS:
        for number in range(8):
            file = f"librispeech/{reader}-{number}.wav"
            (directory / file).write_bytes(wav_of(tone(9.0).tobytes()))
            rows.append(f"{file}\tread_speech\ten\t{reader}\t9.0\tSENTENCE {number}\thigh")
    (directory / "manifest.tsv").write_text("\n".join(rows), encoding="utf-8")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    directory = tmp_path / "corpus"
    directory.mkdir()
    write_corpus(directory)
    return directory


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    directory = tmp_path / "workplace"
    directory.mkdir()
    return directory


def test_every_recording_with_turns_is_written_as_a_wav(corpus: Path, workplace: Path) -> None:
    files = write_recordings(corpus, 0, workplace)
    assert list(files.values()) == [
        Recording("b", ".", 2.0, (Spoken(0.0, 1.0, "Bob"),), ()),
        Recording("a", "meetings", 4.0, (Spoken(0.5, 2.5, "Ann"),), (Said("Ann", "HELLO"),)),
    ]
    assert [len(pcm_of(Path(path))) for path in files] == [2 * 2 * RATE, 2 * 4 * RATE]


def test_constructed_dialogues_come_behind_them_in_groups_by_their_voices(corpus: Path, workplace: Path) -> None:
    found = list(write_recordings(corpus, 2, workplace).values())[2:]
    assert [recording.group for recording in found] == ["constructed, 2 voices", "constructed, 4 voices"]
    assert [recording.speakers for recording in found] == [2, 4]
    assert all(len(recording.said) == len(recording.turns) for recording in found)


def test_turns_without_a_recording_are_told(corpus: Path, workplace: Path) -> None:
    (corpus / "b.wav").unlink()
    with pytest.raises(ValueError, match=r"b\.rttm has no recording"):
        write_recordings(corpus, 0, workplace)


def test_a_directory_without_any_is_told(tmp_path: Path, workplace: Path) -> None:
    with pytest.raises(ValueError, match="Name another"):
        write_recordings(tmp_path / "corpus", 0, workplace)
