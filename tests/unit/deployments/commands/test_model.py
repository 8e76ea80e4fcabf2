"""``amanuensis model``: what it says of models, and its exit status."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.shared.model.silence import describe_silence
from tests.support.command_line import amanuensis
from tests.support.local_hub import LocalHub, offline, serving
from tests.support.paths import AUDIO, DEMO_MODEL, ROOT
from tests.support.tiny_whisper import make_multilingual_model

REPOSITORY = "someone/tiny-whisper"


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty model cache, and an empty cache of the hub's client."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "cache" / "amanuensis" / "models"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    """A hub on this machine with one model."""
    files = {path.name: path.read_bytes() for path in make_multilingual_model(tmp_path / "published").iterdir()}
    with serving({REPOSITORY: files}, monkeypatch) as hub:
        yield hub


@pytest.mark.usefixtures("hub")
def test_a_pulled_model_can_be_shown_and_is_listed(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert amanuensis("model", "pull", REPOSITORY) == 0
    path = cache / "someone--tiny-whisper"
    assert capsys.readouterr().out == f"{path}\n"

    assert amanuensis("model", "show", REPOSITORY) == 0
    shown = capsys.readouterr().out
    assert f"path           {path}" in shown
    assert f"not pinned, the files are complete; model.bin has the SHA-256 {digest(path / 'model.bin')}" in shown
    assert "mel bins       80" in shown
    assert "width          16, 2 heads" in shown
    assert "layers         1 of the encoder, 1 of the decoder" in shown
    assert "languages      4 (multilingual): de en fr ja" in shown
    assert "audio context  full, windows of 30 s at most" in shown

    assert amanuensis("model", "list") == 0
    assert f"{REPOSITORY:<46}        {path}" in capsys.readouterr().out


def test_a_directory_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert amanuensis("model", "show", str(DEMO_MODEL)) == 0
    shown = capsys.readouterr().out
    assert "languages      1 (English-only model: no detection, no translation): en" in shown
    assert "audio context  trimmed, windows of 10 s at most" in shown


def test_what_is_not_here_is_not_shown_but_how_to_fetch_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offline(monkeypatch)
    assert amanuensis("model", "show", "small") == 1
    assert capsys.readouterr().err.endswith("amanuensis model pull small\n")


def test_a_model_that_cannot_be_fetched_is_one_sentence_and_status_1(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offline(monkeypatch)
    assert amanuensis("model", "pull", "small") == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"in {cache / 'small'} and start again" in message


def test_a_gated_model_needs_a_token(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert amanuensis("model", "pull", REPOSITORY) == 0
    assert set(hub.tokens) == {"Bearer hf_secret"}


@pytest.fixture
def trained_for_30_s(tmp_path: Path) -> Path:
    """The demo model without its card: then nothing says that it may be given less."""
    path = tmp_path / "model"
    shutil.copytree(DEMO_MODEL, path, ignore=shutil.ignore_patterns("recipe", "amanuensis.json"))
    return path


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A folder with every clip of the tree under two names, and a file that is no audio."""
    folder = tmp_path / "speech"
    for copy in ("one", "two"):
        shutil.copytree(AUDIO, folder / copy, ignore=shutil.ignore_patterns("human", "*.md"))
    return folder


def test_a_model_is_tuned_with_a_folder_of_speech(
    trained_for_30_s: Path, speech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "audio context  full" in shown(trained_for_30_s, capsys)
    assert amanuensis("model", "tune", str(speech), "--model", str(trained_for_30_s), "--exclude", "*/01_*") == 0
    said = capsys.readouterr().out
    assert "passed         yes" in said
    assert str(trained_for_30_s / "silence.npz") in said
    description = describe_silence(trained_for_30_s / "silence.npz")
    assert description.model_sha256 == digest(trained_for_30_s / "model.bin")
    assert 0 < description.recordings < 22
    assert description.checked_windows > 0
    assert "audio context  trimmed" in shown(trained_for_30_s, capsys)
    assert [path.name for path in trained_for_30_s.glob("*silence*")] == ["silence.npz"]


def test_too_little_speech_tunes_nothing(
    trained_for_30_s: Path, speech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("model", "tune", str(speech / "one"), "--model", str(trained_for_30_s), "--exclude", "*1*")
    assert amanuensis(*arguments) == 1
    assert "name a folder with more" in capsys.readouterr().err
    assert not (trained_for_30_s / "silence.npz").exists()


def shown(model: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert amanuensis("model", "show", str(model)) == 0
    return capsys.readouterr().out


def test_it_needs_no_ray() -> None:
    program = "import sys, deployments.commands.model\nprint('ray' in sys.modules, 'ctranslate2' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["False", "False"]


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
