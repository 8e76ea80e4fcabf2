"""``amanuensis transcribe`` against a service that answers as the test says: files, messages, exit status."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.commands.client import patience
from tests.support.command_line import amanuensis
from tests.support.paths import ROOT
from tests.support.transcribing_service import (
    DELTAS,
    DONE,
    VERBOSE_JSON,
    Answer,
    Script,
    Site,
    scripted_service,
    transcribe,
)

SRT = "1\n00:00:00,500 --> 00:00:01,250\nGood day.\n\n2\n00:01:01,500 --> 00:01:02,000\nSit <down>.\n"
VTT = "WEBVTT\n\n00:00:00.500 --> 00:00:01.250\nGood day.\n\n00:01:01.500 --> 00:01:02.000\nSit &lt;down&gt;.\n"
TEXT = "Good day. Sit <down>.\n"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("AMANUENSIS_API_KEY", raising=False)
    with scripted_service() as site:
        monkeypatch.setenv("AMANUENSIS_URL", site.url)
        yield site


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it waited each time, without waiting."""
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    return waits


def audio(directory: Path, name: str = "talk.mp3", content: bytes = b"\x00audio\r\n--\xff") -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


def refusing(status: int, code: str, message: str, **headers: str) -> Script:
    return lambda answer: answer.refuse(status, code, message, **headers)


def test_the_text_goes_beside_the_file(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk = audio(tmp_path)
    assert amanuensis("transcribe", str(talk)) == 0
    text = tmp_path / "talk.txt"
    assert text.read_text(encoding="utf-8") == TEXT
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"{talk}: 63.0 s, english, in ")
    assert output.err.endswith(f": {text}\n")
    assert output.err.count("\n") == 1, "one line per file where there is no terminal"
    (posted,) = site.posted
    assert (posted.path, posted.filename, posted.audio) == ("/v1/audio/transcriptions", "talk.mp3", talk.read_bytes())
    assert posted.fields == {
        "stream": ["true"],
        "response_format": ["verbose_json"],
        "timestamp_granularities[]": ["segment"],
    }


def test_every_format_is_made_from_one_answer(site: Site, tmp_path: Path) -> None:
    formats = [argument for name in ("txt", "srt", "vtt", "json") for argument in ("--format", name)]
    assert amanuensis("transcribe", str(audio(tmp_path)), *formats, "-o", str(tmp_path / "texts" / "here")) == 0
    written = {path.suffix: path.read_text(encoding="utf-8") for path in (tmp_path / "texts" / "here").iterdir()}
    assert written.pop(".json") == json.dumps(VERBOSE_JSON, indent=2) + "\n"
    assert written == {".txt": TEXT, ".srt": SRT, ".vtt": VTT}
    assert len(site.posted) == 1


def test_what_is_asked_for_is_sent(site: Site, tmp_path: Path) -> None:
    options = ("--language", "german", "--prompt", "Äh\n--", "--translate", "--words", "--priority", "low")
    assert amanuensis("transcribe", str(audio(tmp_path)), "--format", "json", *options) == 0
    (posted,) = site.posted
    assert posted.path == "/v1/audio/translations"
    assert posted.fields["language"] == ["german"]
    assert [prompt.replace("\r", "") for prompt in posted.fields["prompt"]] == ["Äh\n--"]
    assert posted.fields["timestamp_granularities[]"] == ["segment", "word"]
    assert posted.headers["x-priority"] == "low"
    assert "authorization" not in posted.headers


def test_speakers_are_asked_for_and_stand_before_what_they_say(site: Site, tmp_path: Path) -> None:
    segments = [{**segment, "speaker": name} for segment, name in zip(VERBOSE_JSON["segments"], "AB", strict=True)]
    site.scripts["talk.mp3"] = [
        lambda answer: answer.events([{**VERBOSE_JSON, "segments": segments, "type": "transcript.text.done"}])
    ]
    assert amanuensis("transcribe", str(audio(tmp_path)), "--speakers") == 0
    (posted,) = site.posted
    assert posted.fields["diarize"] == ["true"]
    assert (tmp_path / "talk.txt").read_text(encoding="utf-8") == "A: Good day.\nB: Sit <down>.\n"


def test_the_words_need_a_format_that_has_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert amanuensis("transcribe", str(audio(tmp_path)), "--words") == 2
    assert "--format json" in capsys.readouterr().err


def test_a_text_that_is_there_is_kept_and_the_other_files_are_transcribed(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = audio(tmp_path, "old.mp3"), audio(tmp_path, "new.mp3")
    kept = tmp_path / "old.txt"
    kept.write_text("mine")
    kept.chmod(0o640)
    assert amanuensis("transcribe", str(old), str(new)) == 1
    assert kept.read_text() == "mine"
    assert (tmp_path / "new.txt").read_text() == TEXT
    output = capsys.readouterr().err
    assert f"{old}: {kept} is there already; --overwrite replaces it\n" in output
    assert output.endswith("Error: 1 of 2 files could not be transcribed\n")
    assert [posted.filename for posted in site.posted] == ["new.mp3"], "nothing is sent in order to be thrown away"

    assert amanuensis("transcribe", str(old), "--overwrite") == 0
    assert kept.read_text() == TEXT
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.mp3", "new.txt", "old.mp3", "old.txt"]


def test_texts_that_would_be_written_over_each_other_are_refused(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = audio(tmp_path, "talk.mp3"), audio(tmp_path, "talk.wav")
    assert amanuensis("transcribe", str(one), str(other)) == 2
    assert f"{one} and {other} would both go to {tmp_path / 'talk.txt'}" in capsys.readouterr().err
    assert amanuensis("transcribe", str(audio(tmp_path, "notes.txt")), "--overwrite") == 2
    assert "would replace" in capsys.readouterr().err
    assert amanuensis("transcribe", str(one), str(one)) == 0, "the same file twice is one file"
    assert len(site.posted) == 1


def test_a_file_that_is_not_there_is_told_before_anything_is_sent(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert amanuensis("transcribe", str(audio(tmp_path)), str(tmp_path / "nowhere.mp3")) == 2
    assert "nowhere.mp3" in capsys.readouterr().err
    assert site.posted == []


def test_a_directory_that_cannot_be_made_is_told(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = audio(tmp_path)
    assert amanuensis("transcribe", str(talk), "-o", str(talk / "texts")) == 1
    assert "cannot be made: Not a directory" in capsys.readouterr().err
    assert site.posted == []


class TestStdout:
    def test_texts_come_in_the_order_of_the_files(
        self, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        second_is_done = threading.Event()

        def first(answer: Answer) -> None:
            assert second_is_done.wait(10), "two files are worked on at once"
            answer.events([{**DONE, "text": "first"}])

        def second(answer: Answer) -> None:
            answer.events([{**DONE, "text": "second"}])
            second_is_done.set()

        site.scripts.update({"1.mp3": [first], "2.mp3": [second]})
        files = [str(audio(tmp_path, name)) for name in ("1.mp3", "2.mp3", "3.mp3")]
        assert amanuensis("transcribe", *files, "-o", "-") == 0
        output = capsys.readouterr()
        assert output.out == f"first\nsecond\n{TEXT}"
        assert output.err == ""
        assert len(list(tmp_path.iterdir())) == len(files)

    def test_it_takes_one_format(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert amanuensis("transcribe", str(audio(tmp_path)), "-o", "-", "--format", "srt", "--format", "vtt") == 2
        assert "Only one --format" in capsys.readouterr().err

    def test_what_failed_is_not_among_the_texts(
        self, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        site.scripts["bad.mp3"] = [refusing(400, "invalid_audio", "no audio in it")]
        assert amanuensis("transcribe", str(audio(tmp_path, "bad.mp3")), str(audio(tmp_path)), "-o", "-") == 1
        output = capsys.readouterr()
        assert output.out == TEXT
        assert "bad.mp3: 400 invalid_audio: no audio in it\n" in output.err


class TestRefusals:
    def test_no_service(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert amanuensis("transcribe", str(audio(tmp_path)), "--url", "http://127.0.0.1:9") == 1
        message = capsys.readouterr().err
        assert message.startswith("Error: http://127.0.0.1:9 does not answer")
        assert "`amanuensis serve`" in message

    def test_no_address(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert amanuensis("transcribe", str(audio(tmp_path)), "--url", "localhost:9000") == 1
        assert "localhost:9000 is no address" in capsys.readouterr().err

    def test_no_key_is_told_once_and_nothing_is_sent(
        self, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        site.key = "sk-ann"
        files = [str(audio(tmp_path, f"{number}.mp3")) for number in range(3)]
        assert amanuensis("transcribe", *files) == 1
        message = capsys.readouterr().err
        assert message.count("401 invalid_api_key") == 1
        assert "--key or in AMANUENSIS_API_KEY" in message
        assert site.posted == []

    def test_a_key_that_can_be_none_is_refused_like_any_other(
        self, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        site.key = "sk-ann"
        assert amanuensis("transcribe", str(audio(tmp_path)), "--key", "ключ") == 1
        assert "401 invalid_api_key" in capsys.readouterr().err

    def test_the_key_is_sent(self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        site.key = "sk-ann"
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password secret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        assert amanuensis("transcribe", str(audio(tmp_path, "1.mp3")), "--key", "sk-ann") == 0
        monkeypatch.setenv("AMANUENSIS_API_KEY", "sk-ann\n")
        assert amanuensis("transcribe", str(audio(tmp_path, "2.mp3"))) == 0
        assert [posted.headers["authorization"] for posted in site.posted] == ["Bearer sk-ann"] * 2

    def test_what_is_too_large_does_not_stop_the_others(
        self, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        site.scripts["1.mp3"] = [refusing(413, "payload_too_large", "compress it (flac, mp3, ogg) or split it")]
        assert amanuensis("transcribe", *(str(audio(tmp_path, f"{n}.mp3")) for n in (1, 2)), "--jobs", "1") == 1
        assert "1.mp3: 413 payload_too_large: compress it" in capsys.readouterr().err
        assert (tmp_path / "2.txt").exists()

    def test_what_a_proxy_says_is_shown(self, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        site.scripts["talk.mp3"] = [lambda answer: answer.whole(502, b"<h1>Bad Gateway</h1>")]
        assert amanuensis("transcribe", str(audio(tmp_path))) == 1
        assert "talk.mp3: 502 <h1>Bad Gateway</h1>\n" in capsys.readouterr().err

    def test_a_busy_service_is_asked_again_when_it_says(
        self, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], waits: list[float]
    ) -> None:
        busy = refusing(503, "queue_full", "The queue is full", retry_after="7")
        site.scripts["talk.mp3"] = [busy, refusing(429, "rate_limit_exceeded", "Too many"), transcribe]
        assert amanuensis("transcribe", str(audio(tmp_path))) == 0
        assert waits == [7.0, patience.WAIT_S]
        message = capsys.readouterr().err
        assert "talk.mp3: 503 queue_full: The queue is full. Trying again in 7 s.\n" in message
        assert len({posted.audio for posted in site.posted}) == 1, "the whole file is sent each time"

    def test_so_is_one_that_is_too_busy_after_its_answer_has_begun(
        self, site: Site, tmp_path: Path, waits: list[float]
    ) -> None:
        error = {"type": "overloaded_error", "code": "queue_timeout", "message": "It waited"}
        site.scripts["talk.mp3"] = [lambda answer: answer.events([{"type": "error", "error": error}]), transcribe]
        assert amanuensis("transcribe", str(audio(tmp_path))) == 0
        assert waits == [patience.WAIT_S]

    def test_it_does_not_ask_for_ever(
        self, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], waits: list[float]
    ) -> None:
        site.scripts["talk.mp3"] = [refusing(503, "draining", "It is stopping", retry_after="5")] * patience.TRIES
        assert amanuensis("transcribe", str(audio(tmp_path))) == 1
        assert len(site.posted) == patience.TRIES
        assert len(waits) == patience.TRIES - 1
        assert "talk.mp3: 503 draining: It is stopping\n" in capsys.readouterr().err


class TestStream:
    @pytest.mark.parametrize(
        ("script", "told"),
        [
            (lambda answer: answer.events([*DELTAS], ends=False), "broke"),
            (lambda answer: answer.events([*DELTAS]), "ended before the transcription did"),
            (lambda answer: answer.events([{"type": "transcript.text.done"}]), "does not understand"),
            (lambda answer: answer.events([{"no": "type"}]), "does not understand"),
            (
                lambda answer: answer.events(
                    [DELTAS[0], {"type": "error", "error": {"code": "stage_lost", "message": "The decoder is gone"}}]
                ),
                "stage_lost: The decoder is gone",
            ),
        ],
        ids=["breaks", "ends", "lacks fields", "no type", "fails"],
    )
    def test_an_answer_that_goes_wrong_is_told_and_leaves_no_file(
        self, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], script: Script, told: str
    ) -> None:
        site.scripts["talk.mp3"] = [script]
        assert amanuensis("transcribe", str(audio(tmp_path))) == 1
        assert told in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["talk.mp3"]

    def test_what_a_newer_service_says_besides_does_no_harm(self, site: Site, tmp_path: Path) -> None:
        site.scripts["talk.mp3"] = [
            lambda answer: answer.events([{"type": "transcript.text.segment", "speaker": "A"}, *DELTAS, DONE])
        ]
        assert amanuensis("transcribe", str(audio(tmp_path))) == 0


class Hanging:
    """Answers nothing until it is told to."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.released = threading.Event()

    def __call__(self, answer: Answer) -> None:
        self.asked.set()
        self.released.wait(120)
        answer.close_connection = True


def test_ctrl_c_ends_it_at_once_without_a_traceback(site: Site, tmp_path: Path) -> None:
    hanging = Hanging()
    site.scripts["talk.mp3"] = [hanging]
    command = [sys.executable, "-m", "deployments.commands.main", "transcribe", str(audio(tmp_path))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert hanging.asked.wait(90), "a crowded machine starts it late"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)  # raises where it waits for its answer
        finally:
            process.kill()
            hanging.released.set()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["talk.mp3"]
