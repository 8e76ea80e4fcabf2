"""Corpora as the accuracy benchmark reads them."""

from pathlib import Path

import pytest

from loadtests.benchmarks.accuracy.corpus import IN_THE_TREE, Choice, CorpusFile, find_corpus, is_heard, read_corpus
from loadtests.common.speech import CORPUS_VARIABLE
from loadtests.common.wav import wav_of

COLUMNS = ("file", "category", "lang", "speakers", "seconds", "reference", "trust")
STM = """;; a comment
talk 1 1688 0.300 15.300 <o,f0,unk> THERE'S IRON
talk 1 3005 15.700 28.325 <o,f0,unk> THEY SAY IN ALL
"""


def corpus_of(directory: Path, *rows: tuple[str, ...]) -> list[CorpusFile]:
    """Write a manifest and read it back."""
    lines = ["\t".join(row) for row in (COLUMNS, *rows)]
    (directory / "manifest.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_corpus(directory)


def recording(file: str, category: str = "read_speech", language: str = "en") -> CorpusFile:
    return CorpusFile(file, category, language, file, 1.0, ("A word.",))


def test_a_row_is_a_recording_with_its_sentences(tmp_path: Path) -> None:
    (found,) = corpus_of(
        tmp_path, ("a/1.flac", "read_speech", "en", "1688", "2.5", 'He said "no". Why? 2.5 times.', "high")
    )
    assert found == CorpusFile(
        "a/1.flac", "read_speech", "en", "1688", 2.5, ('He said "no".', "Why?", "2.5 times."), unscored=""
    )
    assert found.collection == "a"


def test_chinese_sentences_end_without_a_space(tmp_path: Path) -> None:
    (found,) = corpus_of(tmp_path, ("a.wav", "read_speech", "zh", "", "1", "你好。再见。", "high"))
    assert found.sentences == ("你好。", "再见。")


def test_the_turns_of_an_stm_are_the_sentences_and_name_the_speakers(tmp_path: Path) -> None:
    (tmp_path / "talk.stm").write_text(STM, encoding="utf-8")
    (found,) = corpus_of(tmp_path, ("talk.flac", "longform", "en", "2", "30", "see .stm (turn by turn)", "high"))
    assert found.sentences == ("THERE'S IRON", "THEY SAY IN ALL")
    assert found.speaker == "1688+3005"


@pytest.mark.parametrize("speakers", ["", "3"])
def test_a_file_whose_speaker_is_not_named_is_a_speaker_of_its_own(tmp_path: Path, speakers: str) -> None:
    (found,) = corpus_of(tmp_path, ("b/1.wav", "diarization", "en", speakers, "1", "Hello.", "medium"))
    assert found.speaker == "b/1.wav"


@pytest.mark.parametrize(
    ("category", "language", "reference", "trust", "reason"),
    [
        ("read_speech", "en", "Hello.", "medium", ""),
        ("read_speech", "en", "Hello.", "low", "the text is not to be trusted"),
        ("read_speech", "sv", "Tyst under denna inspelning", "high", "the reader was told to be silent"),
        ("noise", "", "", "n/a", "no text is known"),
        ("diarization", "en", "see RTTM", "high", "no text is known"),
        ("two_channel", "en+es", "How are you? Bien.", "medium", "several languages, or none that Whisper knows"),
        ("two_channel", "en", "LEFT: HE BEGAN RIGHT: SHE DID", "high", "two voices at once, one on each channel"),
        ("odd", "en", "Hello.", "high", "about containers and codecs: not sent here"),
    ],
)
def test_what_cannot_be_compared_says_why(
    tmp_path: Path, category: str, language: str, reference: str, trust: str, reason: str
) -> None:
    (found,) = corpus_of(tmp_path, ("a.wav", category, language, "", "1", reference, trust))
    assert found.unscored == reason
    assert is_heard(found) == (category != "odd")


def test_folders_named_after_languages_are_a_corpus(tmp_path: Path) -> None:
    for language, text in (("fr", "Bonjour le monde.\n"), ("notes", "no language")):
        (tmp_path / language).mkdir()
        (tmp_path / language / "one.wav").write_bytes(wav_of(bytes(32000)))
        (tmp_path / language / "one.txt").write_text(text, encoding="utf-8")
    assert read_corpus(tmp_path) == [
        CorpusFile("fr/one.wav", "sentence", "fr", "fr/one.wav", 1.0, ("Bonjour le monde.",))
    ]


def test_the_clips_of_the_tree_are_a_corpus() -> None:
    found = read_corpus(IN_THE_TREE)
    assert found
    assert all((IN_THE_TREE / one.file).is_file() and one.sentences and not one.unscored for one in found)


def test_a_directory_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds neither manifest\.tsv nor"):
        read_corpus(tmp_path)


def test_a_choice_takes_what_fits_and_so_many_of_each_kind() -> None:
    every = [
        recording("a/1"), recording("a/2"), recording("b/3", language="de"), recording("b/4", category="command")
    ]  # fmt: skip
    assert Choice().of(every) == every
    assert Choice(limit=1).of(every) == [every[0], *every[2:]]
    assert Choice(languages=["de"]).of(every) == [every[2]]
    assert Choice(categories=["command"], files=["a/*"]).of(every) == []
    assert Choice(files=["a/1", "b/*"]).of(every) == [every[0], *every[2:]]


def test_what_is_named_comes_before_the_environment_and_that_before_the_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(CORPUS_VARIABLE, str(tmp_path / "environment"))
    assert find_corpus(tmp_path) == tmp_path
    assert find_corpus(None) == tmp_path / "environment"
    assert capsys.readouterr().err == ""
    monkeypatch.delenv(CORPUS_VARIABLE)
    assert find_corpus(None) == IN_THE_TREE
    assert CORPUS_VARIABLE in capsys.readouterr().err
