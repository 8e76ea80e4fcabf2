"""``amanuensis transcribe`` against the real application over scripted stages, on a socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from deployments.commands import keys
from deployments.ingress.http.routes import create_app
from deployments.shared.errors import StageTimeoutError
from tests.support.command_line import amanuensis
from tests.support.http_service import service
from tests.support.listening import listening
from tests.support.scripted_stages import ScriptedStages

TEXTS = ["Good day.", "", "How are you?"]


class FailingStages(ScriptedStages):
    """The decoder fails at the second window."""

    def __init__(self) -> None:
        super().__init__(3, self._fail)

    async def _fail(self, index: int) -> None:
        if index == 1:
            raise StageTimeoutError("The decoder took too long")


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mp3"
    path.write_bytes(b"never decoded here")
    return path


@pytest.fixture
def shared_memory(tmp_path: Path) -> Path:
    path = tmp_path / "shm"
    path.mkdir()
    return path


@pytest.fixture
def url(shared_memory: Path) -> Iterator[str]:
    with listening(create_app(service(ScriptedStages(3, texts=TEXTS), shared_memory))) as url:
        yield url


def test_all_formats_come_from_one_answer(url: str, talk: Path) -> None:
    formats = [argument for name in ("txt", "srt", "vtt", "json") for argument in ("--format", name)]
    assert amanuensis("transcribe", str(talk), "--url", url, "--words", *formats) == 0
    assert talk.with_suffix(".txt").read_text() == "Good day. How are you?\n"
    assert talk.with_suffix(".srt").read_text() == (
        "1\n00:00:00,000 --> 00:00:01,000\nGood day.\n\n2\n00:00:02,000 --> 00:00:03,000\nHow are you?\n"
    )
    assert talk.with_suffix(".vtt").read_text().startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nGood day.\n")
    document = json.loads(talk.with_suffix(".json").read_text())
    assert document.keys() == {
        "task", "language", "duration", "text", "segments", "words", "usage", "device", "warnings", "languages"
    }  # fmt: skip
    assert (document["duration"], document["device"]) == (3.0, "cpu:test")


def test_the_subtitles_are_those_that_the_service_makes(url: str, talk: Path) -> None:
    assert amanuensis("transcribe", str(talk), "--url", url, "--format", "srt", "--format", "vtt") == 0
    for suffix in ("srt", "vtt"):
        answer = requests.post(
            f"{url}/v1/audio/transcriptions",
            data={"response_format": suffix},
            files={"file": ("talk.mp3", b"audio")},
            timeout=10,
        )
        assert talk.with_suffix(f".{suffix}").read_text() == answer.text


def test_what_the_service_does_not_take_is_told(url: str, talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert amanuensis("transcribe", str(talk), "--url", url, "--language", "klingon") == 1
    assert f"{talk}: 400 unsupported_language: " in capsys.readouterr().err
    assert amanuensis("transcribe", str(talk), "--url", url, "--translate") == 1
    assert "cannot translate" in capsys.readouterr().err


def test_a_failure_on_the_way_is_told(talk: Path, shared_memory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(create_app(service(FailingStages(), shared_memory))) as url:
        assert amanuensis("transcribe", str(talk), "--url", url) == 1
    assert f"{talk}: stage_timeout: " in capsys.readouterr().err
    assert not talk.with_suffix(".txt").exists()


def test_a_large_file_is_refused_with_what_to_do(
    talk: Path, shared_memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with talk.open("wb") as file:
        file.truncate(64 * 2**20)
    with listening(create_app(service(ScriptedStages(1), shared_memory, max_upload_bytes=2**20))) as url:
        assert amanuensis("transcribe", str(talk), "--url", url) == 1
    message = capsys.readouterr().err
    assert f"{talk}: 413 payload_too_large: " in message
    assert "compress it" in message


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    url: str, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert amanuensis("transcribe", str(talk), "--url", url) == 0


def test_keys_are_asked_for_and_taken(
    talk: Path, shared_memory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AMANUENSIS_API_KEY", raising=False)
    key = keys.add(tmp_path / "keys", "ann", operator=False)
    with listening(create_app(service(ScriptedStages(1), shared_memory, api_keys_file=str(tmp_path / "keys")))) as url:
        assert amanuensis("transcribe", str(talk), "--url", url) == 1
        assert "401 invalid_api_key" in capsys.readouterr().err
        assert amanuensis("transcribe", str(talk), "--url", url, "--key", key) == 0
