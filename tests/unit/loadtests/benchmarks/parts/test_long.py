"""The files of the benchmark of long recordings, and its report."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from deployments.mel.decoding import decode
from loadtests.benchmarks.accuracy.corpus import CorpusFile, read_corpus
from loadtests.benchmarks.parts.clip_sets import ClipSet
from loadtests.benchmarks.parts.long_files import HOUR, MINUTES, LongFiles, join, write_long_files
from loadtests.benchmarks.parts.long_report import ALONE, BESIDE, SERVICE, SHORT, LongRun, write_report
from loadtests.benchmarks.parts.measurements import Measurements
from loadtests.common.clips import Clip
from loadtests.common.closed_loop import LoadResult
from loadtests.common.speech import LIMITS
from loadtests.common.wav import RATE, seconds_of, wav_of

COLUMNS = ("file", "category", "lang", "speakers", "seconds", "reference", "trust")
ROWS = (
    ("librispeech/a.wav", "read_speech", "en", "ann", 2.0, "RED CAT", "high"),
    ("librispeech/b.wav", "read_speech", "en", "bob", 3.0, "BLUE DOG", "high"),
    ("longform/short.wav", "longform", "en", "cat", 10.0, "TOO SHORT", "high"),
    ("longform/minute.wav", "longform", "en", "cat", 60.0, "A MINUTE", "high"),
    ("longform/silent.wav", "silence_heavy", "en", "cat", 61.0, "ONE WORD", "high"),
    ("longform/minute_de.wav", "longform", "de", "dora", 60.0, "EINE MINUTE", "high"),
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Tones, with different words."""
    for name in ("librispeech", "longform"):
        (tmp_path / name).mkdir()
    with (tmp_path / "manifest.tsv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([COLUMNS, *ROWS])
    for row in ROWS:
        tone = (1000 * np.sin(np.arange(int(row[4] * RATE)) / 10)).astype(np.int16)
        (tmp_path / row[0]).write_bytes(wav_of(tone.tobytes()))
    return tmp_path


def test_recordings_are_joined_whole_until_the_next_does_not_fit(corpus: Path) -> None:
    recordings = read_corpus(corpus)[:2]
    hour, content = join(corpus, recordings, 12.0)
    pauses = 4 * 0.3
    assert hour.seconds == pytest.approx(2 + 3 + 2 + 3 + pauses)
    assert hour.sentences == ("RED CAT", "BLUE DOG", "RED CAT", "BLUE DOG")
    assert content.startswith(b"fLaC")
    assert seconds_of(decode(io.BytesIO(content), LIMITS).mono.tobytes()) == pytest.approx(hour.seconds)
    with pytest.raises(ValueError, match=r"no English recording .* fits into 1 s"):
        join(corpus, recordings, 1.0)


def test_minutes_are_english_speech_of_a_minute_and_the_hour_is_read_speech_and_them(
    corpus: Path, tmp_path: Path
) -> None:
    files = write_long_files(corpus, tmp_path, 100.0)
    assert list(files.minutes) == [str(corpus / "longform" / "minute.wav")]
    ((path, hour),) = files.hour.items()
    assert Path(path).read_bytes().startswith(b"fLaC")
    assert set(hour.sentences) == {"RED CAT", "BLUE DOG", "A MINUTE"}
    assert [name for name, _ in files.groups()] == [MINUTES, HOUR]
    assert [name for name, _ in LongFiles({}, files.hour).groups()] == [HOUR]


def measured(*seconds: float, audio_s: float = 3600.0, name: str = "hour", cpu_s: float = 90.0) -> Measurements:
    result = Measurements()
    for each in seconds:
        load = LoadResult(each, audio_s, [each], {name: {"red hat"}})
        result.add_load(load, {"Decoder": cpu_s, "load generator": 5.0}, 1000.0)
    return result


def test_the_report_has_a_row_per_contender_and_length_and_the_ratios_round_by_round() -> None:
    hour = {"hour.flac": CorpusFile("hour", "joined", "en", "hour", 3600.0, ("Red cat.",))}
    short = ClipSet((Clip("a", b"", 4.0, "Red cat."),), {})
    found = {
        (SERVICE, HOUR): measured(100.0, 200.0),
        (SHORT, ALONE): measured(0.5, audio_s=4.0),
        (SHORT, BESIDE): measured(2.0, audio_s=4.0),
        (SERVICE, BESIDE): measured(300.0),
        ("faster-whisper", HOUR): measured(300.0, 400.0),
    }
    text = write_report(LongRun(found, LongFiles({}, hour), short, "one machine"))
    assert "| the service | an hour: 1 of 3600 s in all | 27.0 (18.0-36.0) | 90 | 1000 (1000-1000) | 50.0 |" in text
    assert "| faster-whisper | an hour: 1 of 3600 s in all | 10.5 (9.0-12.0) |" in text
    assert "- an hour: the service / faster-whisper: 2.50 (2.00-3.00)x" in text
    assert "| alone | 2.00 (2.00-2.00) | 500 (500-500) | 500 (500-500) | 500 (500-500) |" in text
    assert "| beside an hour | 0.50 (0.50-0.50) | 2000 (2000-2000) |" in text
    assert "transcribed at 12.0 (12.0-12.0) times real time" in text
    assert MINUTES not in text
