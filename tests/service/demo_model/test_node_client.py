"""OpenAI's client for Node, from its registry, in the version that tests/node_client locks."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import AUDIO, ROOT

PROGRAM = ROOT / "tests" / "node_client"
CLIP = AUDIO / "01_espeak-plain.wav"
TEXT = "conversation.item.input_audio_transcription"
WORDS = "Well, the train is new, I think."

pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")), reason="Node is not installed (Debian: apt-get install npm)"
)


@pytest.fixture(scope="module")
def results(service: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "client.mjs"):
        shutil.copy(PROGRAM / name, directory)
    try:
        run(["npm", "ci", "--no-audit", "--no-fund"], directory).check_returncode()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm cannot install the client here: {error}")
    ran = run(["node", "client.mjs", service, str(CLIP)], directory)
    assert ran.returncode == 0, ran.stderr
    outcome: dict[str, Any] = json.loads(ran.stdout)
    return outcome


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("call", ["json", "chunked", "prompted", "bytes", "newModel"])
def test_every_way_to_ask_gives_the_words(results: dict[str, Any], call: str) -> None:
    assert results[call] == WORDS


def test_every_format_is_read(results: dict[str, Any]) -> None:
    assert results["text"].strip() == WORDS
    assert results["srt"].startswith("1\n00:00:0")
    assert results["vtt"].startswith("WEBVTT\n")
    assert " ".join(results["verbose"]["words"]) == results["verbose"]["text"] == WORDS
    assert results["verbose"]["segments"] == 1


def test_a_stream_is_read_to_its_end(results: dict[str, Any]) -> None:
    assert results["streamed"] == {
        "types": ["transcript.text.delta", "transcript.text.done"],
        "deltas": WORDS,
        "text": WORDS,
    }


def test_a_live_session_is_heard(results: dict[str, Any]) -> None:
    live = results["live"]
    assert live["text"] == live["deltas"] == WORDS
    assert (live["types"][0], live["types"][-1]) == ("session.created", f"{TEXT}.completed")
    assert set(live["types"]) == {
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        f"{TEXT}.delta",
        f"{TEXT}.completed",
    }


def test_models_are_listed(results: dict[str, Any]) -> None:
    assert {"whisper-1", "gpt-transcribe"} <= set(results["models"])


def test_refusals_are_typed(results: dict[str, Any]) -> None:
    assert results["tooHot"] == {"status": 400, "code": "invalid_request", "param": "temperature"}
    assert results["noAudio"] == {"status": 400, "code": "invalid_audio", "param": "file"}
