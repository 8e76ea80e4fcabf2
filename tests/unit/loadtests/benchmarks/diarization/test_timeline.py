"""Reading references: RTTM and STM."""

from __future__ import annotations

from pathlib import Path

from loadtests.benchmarks.diarization.timeline import Said, Spoken, read_rttm, read_stm, speakers_of


def test_an_rttm_gives_turns_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.rttm"
    path.write_text(
        "SPKR-INFO a 1 <NA> <NA> <NA> unknown Ann <NA> <NA>\n"
        "SPEAKER a 1 5.000 2.500 <NA> <NA> Bob <NA> <NA>\n"
        "SPEAKER a 1 0.500 4.000 <NA> <NA> Ann <NA> <NA>\n\n",
        encoding="utf-8",
    )
    turns = read_rttm(path)
    assert turns == [Spoken(0.5, 4.5, "Ann"), Spoken(5.0, 7.5, "Bob")]
    assert speakers_of(turns) == ["Ann", "Bob"]


def test_an_stm_gives_what_each_one_says(tmp_path: Path) -> None:
    path = tmp_path / "a.stm"
    path.write_text(
        ";; a comment\na 1 Ann 0.5 4.5 <o,f0,unk> GOOD MORNING BOB\na 1 Bob 5.0 7.5 <o> GOOD MORNING\n",
        encoding="utf-8",
    )
    assert read_stm(path) == [Said("Ann", "GOOD MORNING BOB"), Said("Bob", "GOOD MORNING")]
