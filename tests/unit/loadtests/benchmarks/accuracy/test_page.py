"""The page of a run: its tables and judgements, from answers whose errors are known."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from loadtests.benchmarks.accuracy.contenders import Transcription
from loadtests.benchmarks.accuracy.corpus import CorpusFile
from loadtests.benchmarks.accuracy.groups import by_category, groups
from loadtests.benchmarks.accuracy.journal import Journal, Turn
from loadtests.benchmarks.accuracy.page import render, write_page
from loadtests.benchmarks.accuracy.results import AccuracyRun, Results, judge_answers, read_results, write_results

ONE, MANY, NAMED, PEER = (
    "service, 1 client",
    "service, 16 clients",
    "service, 16 clients, verbose_json",
    "faster-whisper",
)
MACHINE = {
    "made": "2026-01-01 00:00 UTC",
    "commit": "abc",
    "changed_files": 0,
    "cores": 2,
    "memory_gib": 8,
    "cpu": "Some CPU",
    "python": "3.11",
    "versions": {"ray": "2"},
}
SUBJECT = AccuracyRun(
    command="python -m loadtests.benchmarks.accuracy $SPEECH_CORPUS --peers",
    corpus="`speech`",
    model="base",
    audio_context="full",
    languages=("en", "de"),
    machine=MACHINE,
    setups=dict.fromkeys((ONE, MANY, NAMED, PEER), "nothing set"),
    services=(ONE, MANY, NAMED),
    rated=(ONE, MANY, PEER),
    main=MANY,
    peer=PEER,
)
RIGHT = {
    "librispeech/1.flac": "one morning in May",
    "librispeech/2.flac": "another evening at home",
    "phone/3.wav": "how are you today",
    "languages/4.ogg": "guten tag",
}
RECORDINGS = [
    CorpusFile("librispeech/1.flac", "read_speech", "en", "a", 2.0, (RIGHT["librispeech/1.flac"],)),
    CorpusFile("librispeech/2.flac", "read_speech", "en", "b", 3.0, (RIGHT["librispeech/2.flac"],)),
    CorpusFile("phone/3.wav", "phone", "en", "c", 1.0, (RIGHT["phone/3.wav"],)),
    CorpusFile("languages/4.ogg", "read_speech", "de", "d", 1.0, (RIGHT["languages/4.ogg"],)),
    CorpusFile("noisy/5.wav", "noise", "", "e", 5.0, (), "no text is known"),
]


def good(text: str, language: str = "") -> Transcription:
    return Transcription(200, "", text, language, 0.1)


def run(tmp_path: Path, **changes: dict[str, Transcription]) -> Results:
    """Return the results of a faultless run, but for the changes: contender -> file -> answer."""
    journal = Journal(tmp_path / "answers.jsonl", {})
    texts = {**RIGHT, "noisy/5.wav": ""}
    for name in SUBJECT.setups:
        language = {"languages/4.ogg": "de"} if name == NAMED else {}
        answers = {file: good(text, language.get(file, "")) for file, text in texts.items()}
        journal.answers[name] = answers | changes.get(name, {})
        journal.turns[name] = [Turn(2.0, 8.0, 3), Turn(2.0, 4.0, 2)]
    return judge_answers(SUBJECT, RECORDINGS, Counter({"about containers": 7}), journal)


def page(results: Results) -> str:
    return render(results, groups(results, by_category), "accuracy.png")


def test_a_faultless_run_meets_everything(tmp_path: Path) -> None:
    text = page(run(tmp_path))
    assert "**no**" not in text
    assert "| LibriSpeech: at most 0.3 points above faster-whisper | +0.0 (+0.0 to +0.0) points | yes |" in text
    assert "| the same audio gives the same text in all runs of the service | 0 of 5 differ | yes |" in text
    assert f"| {ONE} | 5 | 4 | 3.0 | 1.25 |" in text
    assert f"**{NAMED}: language named right in 1 of 1** - none" in text
    assert "- about containers: 7 files" in text


def test_error_rates_are_those_of_the_words(tmp_path: Path) -> None:
    wrong = {"librispeech/1.flac": good("one morning in June"), "librispeech/2.flac": good("another evening")}
    results = run(tmp_path, **{MANY: wrong, PEER: {"librispeech/1.flac": good("one morning in June")}})
    english, german = (group for group in groups(results, by_category) if group.label == "read_speech")
    assert (english.measure, english.files, english.speakers, english.units) == ("WER", 2, 2, 8)
    assert [english.rates[name].value for name in SUBJECT.rated] == [0.0, 3 / 8, 1 / 8]
    assert english.behind is not None
    assert (english.behind.value, english.behind.low, english.behind.high) == (2 / 8, 0.0, 0.5)
    assert (german.measure, german.units) == ("CER", 9)
    assert "| LibriSpeech: at most 0.3 points above faster-whisper | +25.0 (+0.0 to +50.0) points | **no** |" in page(
        results
    )


def test_a_category_is_worse_when_its_whole_interval_is(tmp_path: Path) -> None:
    wrong = {"librispeech/1.flac": good("one"), "librispeech/2.flac": good("another")}
    text = page(run(tmp_path, **{MANY: wrong}))
    assert "worse: read_speech (WER); higher, but with one speaker, so without an interval: none | **no** |" in text


def test_a_category_of_one_speaker_is_named_where_it_errs_more(tmp_path: Path) -> None:
    text = page(run(tmp_path, **{MANY: {"phone/3.wav": good("how are you to day")}}))
    assert "worse: none; higher, but with one speaker, so without an interval: phone (WER) | yes |" in text


def test_an_answer_other_than_200_counts_as_no_words_and_is_named(tmp_path: Path) -> None:
    results = run(tmp_path, **{MANY: {"phone/3.wav": Transcription(503, "overloaded", "", "", 0.1)}})
    (phone,) = (group for group in groups(results, by_category) if group.label == "phone")
    assert phone.rates[MANY].value == 1.0
    assert results.missing(MANY) == []
    assert f"| every answer is 200 ({MANY}) | 1 x 503 overloaded | **no** |" in page(results)


def test_what_goes_wrong_is_listed_by_file(tmp_path: Path) -> None:
    wrong = {
        "librispeech/1.flac": good("one morning in May " * 60),
        "phone/3.wav": good(""),
        "noisy/5.wav": good("Thank you."),
    }
    text = page(run(tmp_path, **{MANY: wrong, NAMED: {"languages/4.ogg": good("guten tag", "nl")}}))
    assert f"- **{MANY}: loops**\n  - `librispeech/1.flac`" in text
    assert f"- **{MANY}: missing**\n  - `phone/3.wav`: how are you today" in text
    assert f"- **{MANY}: words where nobody speaks**\n  - `noisy/5.wav`: Thank you." in text
    assert f"- **{NAMED}: language named right in 0 of 1**\n  - `languages/4.ogg`: de, named nl" in text
    assert "- **different texts**\n  - `librispeech/1.flac`\n  - `phone/3.wav`\n  - `noisy/5.wav`" in text


def test_a_run_that_was_cut_off_compares_what_all_have_answered(tmp_path: Path) -> None:
    results = run(tmp_path)
    del results.judged[PEER]["phone/3.wav"]
    assert [recording.file for recording in results.scored()] == [
        "librispeech/1.flac",
        "librispeech/2.flac",
        "languages/4.ogg",
    ]
    assert f"Cut off: {PEER} was not given 1." in page(results)


def test_without_a_peer_nothing_is_compared_with_one(tmp_path: Path) -> None:
    results = run(tmp_path)
    alone = replace(results, subject=replace(SUBJECT, peer="", rated=(ONE, MANY)))
    text = page(alone)
    assert "minus" not in text
    assert "LibriSpeech: at most" not in text


def test_the_page_can_be_written_again_from_the_results(tmp_path: Path) -> None:
    results = run(tmp_path, **{MANY: {"phone/3.wav": good("")}})
    write_results(results, tmp_path / "results.json")
    again = read_results(tmp_path / "results.json")
    assert again == results
    write_page(again, tmp_path / "accuracy.md")
    assert (tmp_path / "accuracy.md").read_text(encoding="utf-8") == page(results)
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
