"""The page of a run and its picture, from errors that are known."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from loadtests.benchmarks.diarization.contenders import OURS, Run, Runs
from loadtests.benchmarks.diarization.page import render, write_page
from loadtests.benchmarks.diarization.plot import choose
from loadtests.benchmarks.diarization.recordings import Recording
from loadtests.benchmarks.diarization.results import Results, read_results, write_results
from loadtests.benchmarks.diarization.service import Answer
from loadtests.benchmarks.diarization.speaker_words import WordErrors
from loadtests.benchmarks.diarization.timeline import Said, Spoken

PEER = "peer 1.0"
MACHINE = {
    "made": "2026-01-01 00:00 UTC",
    "commit": "abc",
    "changed_files": 0,
    "cores": 2,
    "memory_gib": 8,
    "cpu": "Some CPU",
    "python": "3.11",
    "versions": {"openvino": "2"},
}
TWO = (Spoken(0.0, 30.0, "Ann"), Spoken(30.0, 60.0, "Bob"))
ONE = (Spoken(0.0, 10.0, "Cid"),)
TALK = Recording("talk", "meetings", 60.0, TWO, (Said("Ann", "a b"), Said("Bob", "c d")))
ALONE = Recording("alone", "longform", 60.0, ONE, ())
RESULTS = Results(
    command="amanuensis bench diarization $SPEECH_CORPUS",
    corpus="speech",
    machine=MACHINE,
    setups={OURS: "nothing set", PEER: "its defaults"},
    recordings=(TALK, ALONE),
    runs={
        OURS: Runs(
            300.0,
            {"talk": Run((Spoken(0.0, 27.0, "0"), Spoken(30.0, 60.0, "1")), 3.0, 20.0), "alone": Run(ONE, 1.0, 9.0)},
        ),
        PEER: Runs(
            900.0,
            {"talk": Run((Spoken(0.0, 60.0, "0"),), 6.0, 80.0), "alone": Run((Spoken(0.0, 15.0, "0"),), 6.0, 70.0)},
        ),
    },
)


def rows(page: str, *cells: str) -> list[list[str]]:
    """Return the rows of the page's tables that hold all these cells, without them."""
    tables = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    return [[cell for cell in row if cell not in cells] for row in tables if set(cells) <= set(row)]


def test_a_group_has_its_errors_by_kind_and_the_voices_that_were_counted_right() -> None:
    page = render(RESULTS, "picture.png")
    assert rows(page, "meetings", OURS) == [["1", "1.0", "5.0", "4.7", "5.0", "0.0", "0.0", "1 of 1"]]
    assert rows(page, "meetings", PEER) == [["1", "1.0", "50.0", "50.0", "0.0", "0.0", "50.0", "0 of 1"]]
    assert rows(page, "longform", PEER) == [["1", "1.0", "50.0", "50.0", "0.0", "50.0", "0.0", "1 of 1"]]


def test_all_recordings_together_are_weighed_by_what_is_spoken() -> None:
    page = render(RESULTS, "picture.png")
    (ours,), (peer,) = rows(page, "all", OURS), rows(page, "all", PEER)
    assert ours[2].startswith("4.3 (")
    assert peer[2].startswith("50.0 (")
    assert (ours[-1], peer[-1]) == ("2 of 2", "1 of 2")


def test_costs_are_per_second_of_cpu() -> None:
    page = render(RESULTS, "picture.png")
    assert rows(page, "300", "20") == [[OURS, "30.0", "120"]]
    assert rows(page, "900", "80") == [[PEER, "10.0", "360"]]


def test_every_recording_has_a_row() -> None:
    page = render(RESULTS, "picture.png")
    assert rows(page, "talk") == [["1.0", "2", "2, 5.0", "1, 50.0"]]
    assert rows(page, "alone") == [["1.0", "1", "1, 0.0", "1, 50.0"]]


def test_words_have_a_table_where_a_service_was_asked() -> None:
    assert "--library-only" in render(RESULTS, "picture.png")
    answer = Answer(WordErrors(words=200, heard=180, misattributed=9, errors=30, errors_by_speaker=50), seconds=4.0)
    asked = replace(RESULTS, model="base", answers={"talk": answer})
    page = render(asked, "picture.png")
    assert "--library-only" not in page
    assert rows(page, "meetings", "200") == [["1", "15.0", "25.0", "180", "5.0", "15.0"]]
    assert rows(page, "all", "200") == [["1", "15.0", "25.0", "180", "5.0", "15.0"]]
    assert "Diarizer held" not in page
    assert "Diarizer held 375 MiB" in render(replace(asked, diarizer_mib=375.2), "picture.png")


def test_the_page_says_how_and_where_it_was_made_and_what_did_not_run() -> None:
    page = render(RESULTS, "picture.png")
    for part in (RESULTS.command, "Some CPU, 2 cores, 8 GiB; commit abc; openvino 2", "![", "pipeline was not run"):
        assert part in page
    with_pyannote = replace(RESULTS, runs={**RESULTS.runs, "pyannote/pipeline": RESULTS.runs[PEER]})
    assert "was not run" not in render(with_pyannote, "picture.png")
    assert not re.search(r"nan|inf|None", page)


def test_results_can_be_read_again_and_give_the_same_page(tmp_path: Path) -> None:
    answers = {"talk": Answer(WordErrors(4, 4, 0, 0, 0), 2.0)}
    results = replace(RESULTS, model="base", answers=answers, diarizer_mib=375.0)
    write_results(results, tmp_path / "run" / "results.json")
    again = read_results(tmp_path / "run" / "results.json")
    assert again == results
    write_page(again, tmp_path / "diarization.md")
    assert (tmp_path / "diarization.md").read_text(encoding="utf-8") == render(results, "diarization.png")
    assert (tmp_path / "diarization.png").stat().st_size > 1000


def test_the_picture_shows_talkative_recordings_with_the_most_voices() -> None:
    dialogues = [replace(TALK, name=str(number), turns=TWO * number) for number in (1, 3, 2)]
    four = replace(TALK, name="four", turns=tuple(Spoken(15.0 * n, 15.0 * n + 15, str(n)) for n in range(4)))
    groups = {"dialogues": dialogues, "silent": [ALONE], "meetings": [four]}
    assert [recording.name for recording in choose(groups)] == ["four", "3"]
    assert choose({"silent": [ALONE]}) == [ALONE]
