"""Requests as programs that were made for other services send them, from their sources."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.shared.contracts import BlobRef, PreparedAudio, SpeechOptions, SpooledBlob, Ticket
from tests.support.http_service import multilingual_client
from tests.support.scripted_stages import ScriptedStages

SAMPLES = bytes(range(200)) * 160
BAZARR = {"language": "de", "output": "srt", "encode": "false", "video_file": "/films/a film.mkv"}


class Uploads(ScriptedStages):
    """Stages that keep what was uploaded."""

    upload = b""

    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        assert isinstance(upload, SpooledBlob)
        self.upload = Path(upload.path).read_bytes()  # noqa: ASYNC240  (nobody else waits)
        return await super().prepare(ticket, upload, options)


@pytest.fixture
def stages() -> Uploads:
    return Uploads(2)


@pytest.fixture
def client(tmp_path: Path, stages: Uploads) -> Iterator[TestClient]:
    with multilingual_client(tmp_path, stages) as running:
        yield running


def error(answer: Any) -> tuple[int, str, str]:
    body = answer.json()["error"]
    return answer.status_code, body["code"], body["param"]


def test_bazarr_gets_subtitles_for_bare_samples(client: TestClient, stages: Uploads) -> None:
    answer = client.post("/asr", params={"task": "transcribe", **BAZARR}, files={"audio_file": SAMPLES})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/x-subrip")
    assert answer.text.startswith("1\n00:00:0")
    assert "x-warnings" not in answer.headers
    with wave.open(io.BytesIO(stages.upload)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        assert file.readframes(file.getnframes()) == SAMPLES
    assert {(options.task, options.language) for options in stages.options.values()} == {("transcribe", "de")}


def test_bazarr_gets_english_subtitles(client: TestClient, stages: Uploads) -> None:
    assert client.post("/asr", params={"task": "translate", **BAZARR}, files={"audio_file": SAMPLES}).status_code == 200
    assert {options.task for options in stages.options.values()} == {"translate"}


@pytest.mark.parametrize(
    ("output", "content_type"),
    [(None, "text/plain"), ("txt", "text/plain"), ("json", "application/json"), ("vtt", "text/vtt")],
)
def test_every_output_has_its_type(client: TestClient, output: str | None, content_type: str) -> None:
    params = {} if output is None else {"output": output}
    answer = client.post("/asr", params=params, files={"audio_file": ("a.mp3", b"sound")})
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, content_type)


def test_the_language_of_the_first_speech_is_told(client: TestClient) -> None:
    answer = client.post("/detect-language", params={"encode": "false"}, files={"audio_file": SAMPLES})
    assert answer.status_code == 200
    document = answer.json()
    assert document["language_code"] in {"en", "de", "zh"}
    assert document["detected_language"] in {"english", "german", "chinese"}


def test_a_language_is_not_streamed(client: TestClient) -> None:
    answer = client.post("/detect-language", data={"stream": "true"}, files={"audio_file": ("a.mp3", b"sound")})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream")


def test_whisper_cpp_s_clients_get_the_text(client: TestClient, stages: Uploads) -> None:
    form = {
        "temperature": "0.0",
        "temperature_inc": "0.2",
        "response_format": "json",
        "beam_size": "-1",
        "language": "auto",
    }
    answer = client.post("/inference", data=form, files={"file": ("a.wav", b"sound")})
    assert answer.status_code == 200
    assert answer.json()["text"]
    assert "x-warnings" not in answer.headers
    assert {options.task for options in stages.options.values()} == {"transcribe"}


@pytest.mark.parametrize(("said", "task"), [("true", "translate"), ("1", "translate"), ("false", "transcribe")])
def test_whisper_cpp_translates_when_told_to(client: TestClient, stages: Uploads, said: str, task: str) -> None:
    answer = client.post("/inference", data={"translate": said}, files={"file": ("a.wav", b"sound")})
    assert answer.status_code == 200
    assert {options.task for options in stages.options.values()} == {task}


def test_what_is_not_understood_is_refused(client: TestClient) -> None:
    file = {"audio_file": SAMPLES}
    assert error(client.post("/asr", params={"output": "tsv"}, files=file)) == (400, "invalid_request", "output")
    assert error(client.post("/asr", params={"task": "sing"}, files=file)) == (400, "invalid_request", "task")
    assert error(client.post("/asr", params={"encode": "maybe"}, files=file)) == (400, "invalid_request", "encode")
    assert error(client.post("/asr", files={"sound": SAMPLES}))[1:] == ("invalid_request", "sound")
    answer = client.post("/inference", data={"translate": "perhaps"}, files={"file": ("a.wav", b"x")})
    assert error(answer) == (400, "invalid_request", "translate")
