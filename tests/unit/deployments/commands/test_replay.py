"""Replaying failures against a service over real HTTP: asked as before, answered, forgotten."""

import asyncio
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.commands import replay
from deployments.commands.client.service import Service, ServiceError
from deployments.ingress.failures.log import FailureLog
from deployments.ingress.failures.record import Failure
from deployments.ingress.http.routes import create_app
from deployments.shared.contracts import BlobRef, PreparedAudio, SpeechOptions, SpooledBlob, Ticket
from deployments.shared.errors import ServiceUnavailableError
from tests.support.command_line import amanuensis
from tests.support.failure_records import AUDIO, failure
from tests.support.http_service import service
from tests.support.listening import listening
from tests.support.scripted_stages import ScriptedStages


class RecoveringStages(ScriptedStages):
    """The decoder is gone until it is back; remembers what was uploaded and how it was asked for."""

    def __init__(self) -> None:
        super().__init__(1, self._decode)
        self.broken = False
        self.uploads: list[bytes] = []

    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        assert isinstance(upload, SpooledBlob)
        self.uploads.append(await asyncio.to_thread(Path(upload.path).read_bytes))
        return await super().prepare(ticket, upload, options)

    async def _decode(self, _: int) -> None:
        if self.broken:
            raise ServiceUnavailableError("the decoder is gone")


class Bench:
    """A service on a port, and a shell beside it."""

    def __init__(self, stages: RecoveringStages, log: FailureLog, url: str, output: Path) -> None:
        self.stages = stages
        self.log = log
        self.url = url
        self.output = output
        self.requests: list[dict[str, str]] = []

    def replay(self, *arguments: str) -> int:
        return amanuensis("replay", "--url", self.url, "--output", str(self.output), *arguments)

    def keep(self, second: int = 0, audio: bytes | None = AUDIO, **changes: Any) -> Failure:
        """Puts one failure into the log."""
        record = failure(second, audio=audio, **changes)
        self.log.add(record, audio or b"")
        return record

    def kept(self) -> list[str]:
        return [record.id for record in self.log.page(100)[0]]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    stages = RecoveringStages()
    (tmp_path / "shm").mkdir()
    asked = service(stages, tmp_path / "shm", failure_log_audio=True)
    app = create_app(asked)
    requests: list[dict[str, str]] = []

    async def watching(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            requests.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await app(scope, receive, send)

    with listening(watching) as url:
        bench = Bench(stages, asked.failures.log, url, tmp_path / "answers")
        bench.requests = requests
        yield bench


def test_what_failed_is_asked_again_answered_and_forgotten(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    records = [bench.keep(second, bytes([second]) + AUDIO) for second in range(3)]
    assert bench.replay() == 0
    assert bench.stages.uploads == [bytes([second]) + AUDIO for second in range(3)], "whole, and the oldest first"
    assert bench.kept() == []
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[record.id, "answered:"] for record in records]
    for record in records:
        assert json.loads((bench.output / f"{record.id}.json").read_text())["text"] == "0"


def test_a_request_that_really_failed_can_be_replayed(bench: Bench) -> None:
    bench.stages.broken = True
    first = replay.FailureLog(Service(bench.url))
    record = failure(
        audio=AUDIO, parameters={"response_format": "verbose_json", "language": "en", "prompt": "Äh\r\n--"}
    )
    with pytest.raises(ServiceError, match="503 service_unavailable"):
        first.transcribe(record, AUDIO)
    until = time.monotonic() + 5
    while not bench.kept() and time.monotonic() < until:
        time.sleep(0.005)
    (failed,) = bench.log.page(10)[0]
    assert failed.parameters["prompt"] == "Äh\r\n--"
    assert failed.replay_of == record.id
    bench.stages.broken = False
    assert bench.replay(failed.id) == 0
    assert json.loads((bench.output / f"{failed.id}.json").read_text())["task"] == "transcribe"
    assert bench.kept() == []


@pytest.mark.parametrize(
    ("parameters", "suffix", "shown"),
    [
        ({"response_format": "json", "stream": True, "vad_filter": False, "diarize": False}, ".json", '{"text"'),
        ({"response_format": "text", "temperature": 0.5}, ".txt", "0"),
        (
            {"response_format": "text", "chunking_strategy": {"type": "server_vad", "threshold": 0.6}},
            ".txt",
            "0",
        ),
        ({"response_format": "srt"}, ".srt", "1\n"),
        ({"response_format": "vtt"}, ".vtt", "WEBVTT"),
        ({"response_format": "verbose_json", "timestamp_granularities": ["word", "segment"]}, ".json", '{"task"'),
    ],
)
def test_the_answer_comes_in_the_format_asked_for_and_never_as_a_stream(
    bench: Bench, parameters: dict[str, Any], suffix: str, shown: str
) -> None:
    record = bench.keep(parameters=parameters)
    assert bench.replay() == 0
    assert (bench.output / (record.id + suffix)).read_text().startswith(shown)


def test_the_priority_and_the_record_are_named(bench: Bench) -> None:
    record = bench.keep(priority="low")
    assert bench.replay() == 0
    assert bench.requests[0]["x-priority"] == "low"
    assert bench.requests[0]["x-replay-of"] == record.id
    assert "authorization" not in bench.requests[0]


def test_only_what_is_named_is_replayed(bench: Bench) -> None:
    one, other = bench.keep(1), bench.keep(2)
    assert bench.replay(other.id) == 0
    assert bench.kept() == [one.id]


def test_records_can_be_kept(bench: Bench) -> None:
    record = bench.keep()
    assert bench.replay("--keep") == 0
    assert bench.kept() == [record.id]
    assert (bench.output / f"{record.id}.json").exists()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_else_can_read_the_answers(bench: Bench, tmp_path: Path, umask: int) -> None:
    record = bench.keep()
    bench.output = tmp_path / "outer" / "inner"
    before = os.umask(umask)
    try:
        assert bench.replay() == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((bench.output / f"{record.id}.json").stat().st_mode) == 0o600
    assert [stat.S_IMODE(path.stat().st_mode) for path in (bench.output, bench.output.parent)] == [0o700, 0o700]


def test_what_fails_again_stays_once_and_the_others_are_still_asked(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = bench.keep(1, parameters={"response_format": "json", "model": "gone"})
    fine = bench.keep(2)
    assert bench.replay() == 1
    assert bench.kept() == [refused.id]
    output = capsys.readouterr().out
    assert f"{refused.id} failed: 404 model_not_found" in output
    assert f"{fine.id} answered" in output
    bench.stages.broken = True
    broken = bench.keep(3)
    assert bench.replay(broken.id) == 1
    assert f"{broken.id} failed: 503 service_unavailable" in capsys.readouterr().out
    bench.stages.broken = False
    assert bench.replay(broken.id) == 0
    assert bench.kept() == [refused.id], "the failed replay made no second record"


def test_a_record_without_audio_is_told_not_skipped(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    record = bench.keep(audio=None)
    assert bench.replay() == 1
    assert f"{record.id} failed: cannot be replayed" in capsys.readouterr().out
    assert bench.kept() == [record.id]
    assert bench.requests == []


@pytest.mark.parametrize("unknown", [failure().id, "nonsense", "../../stats"], ids=["gone", "nonsense", "path"])
def test_an_unknown_id_is_told(bench: Bench, capsys: pytest.CaptureFixture[str], unknown: str) -> None:
    assert bench.replay(unknown) == 1
    assert f"{unknown} failed: 404 not_found" in capsys.readouterr().out


def test_all_pages_are_replayed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "PAGE", 2)
    for second in range(5):
        bench.keep(second)
    assert bench.replay() == 0
    assert bench.kept() == []
    assert len(bench.requests) == 5


@pytest.mark.parametrize(("variable", "arguments"), [("MY_KEY", ("--key-env", "MY_KEY")), ("AMANUENSIS_API_KEY", ())])
def test_the_key_comes_from_the_environment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, variable: str, arguments: tuple[str, ...]
) -> None:
    bench.keep()
    monkeypatch.setenv(variable, "sk-operator")
    assert bench.replay(*arguments) == 0
    assert bench.requests[0]["authorization"] == "Bearer sk-operator"


def test_a_missing_key_is_an_error_of_usage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    assert bench.replay("--key-env", "MY_KEY") == 2


def test_a_service_that_is_down_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert amanuensis("replay", "--url", f"http://127.0.0.1:{port}", "--output", str(tmp_path)) == 1
    assert "does not answer" in capsys.readouterr().err
