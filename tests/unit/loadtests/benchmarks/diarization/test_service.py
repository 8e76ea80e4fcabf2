"""Asking a service who says which word."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import psutil
import pytest

from loadtests.benchmarks.diarization.recordings import Recording
from loadtests.benchmarks.diarization.service import NOBODY, ask_for_words, diarizer_peak_mib, read_words
from loadtests.benchmarks.diarization.speaker_words import WordErrors
from loadtests.benchmarks.diarization.timeline import Said
from loadtests.common.client import UnansweredError
from loadtests.common.service_process import free_port

SAID = (Said("Ann", "GOOD MORNING"), Said("Bob", "GOOD MORNING ANN"))
WORDS = [("Good", "A"), ("morning.", "A"), ("Good", "B"), ("morning,", "A"), ("Anne.", "B")]
DOCUMENT = {"text": "x", "words": [{"word": word, "speaker": speaker} for word, speaker in WORDS]}


@contextmanager
def serving(status: int, document: dict[str, Any]) -> Iterator[tuple[str, list[bytes]]]:
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Recording]:
    """Two recordings, of one of which the words are known."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.wav").write_bytes(b"RIFF")
    return {
        str(tmp_path / "a.wav"): Recording("a", ".", 5.0, (), SAID),
        str(tmp_path / "b.wav"): Recording("b", ".", 5.0, (), ()),
    }


def test_words_are_asked_for_with_their_speakers_where_they_are_known(files: dict[str, Recording]) -> None:
    with serving(200, DOCUMENT) as (url, bodies):
        found = ask_for_words(url, files)
    assert found["a"].errors == WordErrors(words=5, heard=4, misattributed=1, errors=1, errors_by_speaker=2)
    assert found["a"].seconds > 0
    assert len(found) == 1
    (body,) = bodies
    for field in (b'"diarize"', b'"timestamp_granularities[]"', b"verbose_json"):
        assert field in body


def test_the_peak_is_that_of_the_replica_that_tells_speakers_apart() -> None:
    program = "import time; held = bytearray(64 * 2**20); held = None; print('held', flush=True); time.sleep(60)"
    names = ("ray::ServeReplica:app:Diarizer", "ray::ServeReplica:app:Decoder")
    with pytest.raises(ValueError, match="nobody has asked"):
        diarizer_peak_mib(psutil.Process())
    with ExitStack() as replicas:
        for name, code in zip(names, (program, "import time; print(flush=True); time.sleep(60)"), strict=True):
            command = [sys.executable, "-c", code]
            replica = replicas.enter_context(Popen([name, *command[1:]], executable=command[0], stdout=PIPE))
            replicas.callback(replica.kill)
            assert replica.stdout is not None
            replica.stdout.readline()
        assert 64 < diarizer_peak_mib(psutil.Process()) < 200


def test_an_answer_without_speakers_is_told() -> None:
    with pytest.raises(UnansweredError, match="names no speakers"):
        read_words({"words": [{"word": "Good"}]})


def test_a_word_of_nobody_is_a_word_all_the_same() -> None:
    assert read_words({"words": [{"word": "Good", "speaker": "A"}, {"word": "day"}]}) == [
        Said("A", "Good"),
        Said(NOBODY, "day"),
    ]
    assert read_words({"text": ""}) == []


def test_a_refusal_and_a_broken_connection_are_told(files: dict[str, Recording]) -> None:
    refusal = {"error": {"code": "queue_full", "message": "Come back later."}}
    with serving(503, refusal) as (url, _), pytest.raises(UnansweredError, match="503 queue_full: Come back later"):
        ask_for_words(url, files)
    with pytest.raises(UnansweredError, match="The connection broke"):
        ask_for_words(f"http://127.0.0.1:{free_port()}", files)
