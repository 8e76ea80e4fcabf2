"""Finding a model and reading its card; without network the error says what to place where."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_whisper import make_multilingual_model

from deployments.errors import ConfigurationError
from deployments.model import load_model
from deployments.settings import Settings

DEMO = Path(__file__).parents[2] / "models" / "demo-en"


def settings(model: Path | str, **others: object) -> Settings:
    return Settings.resolve({"whisper_model": str(model), **others})


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The bundled model where a test may spoil it."""
    path = tmp_path / "my-model"
    shutil.copytree(DEMO, path, ignore=shutil.ignore_patterns("recipe"))
    return path


def test_the_bundled_model() -> None:
    model = load_model(settings("models/demo-en"))
    assert model.name == "demo-en"
    assert model.languages == ("en",)
    assert not model.multilingual
    assert model.audio_context == "trimmed"
    assert model.max_window_s == 10
    assert model.notice is not None
    assert (model.dimensions.n_mels, model.dimensions.n_audio_ctx, model.dimensions.d_model) == (80, 1500, 192)
    assert model.frame_buckets[-1] < 1500


def test_without_a_card_a_model_gets_the_full_window(copy: Path) -> None:
    (copy / "amanuensis.json").unlink()
    model = load_model(settings(copy))
    assert (model.name, model.audio_context, model.max_window_s) == ("my-model", "full", 30)
    assert model.frame_buckets == (3000,)
    assert model.notice is None


def test_the_setting_beats_the_card() -> None:
    assert load_model(settings(DEMO, audio_context="full")).audio_context == "full"


def test_a_multilingual_model_knows_its_languages(tmp_path: Path) -> None:
    make_multilingual_model(tmp_path / "tiny")
    model = load_model(settings(tmp_path / "tiny"))
    assert model.multilingual
    assert {"en", "de", "fr"} <= set(model.languages)


def test_no_such_directory() -> None:
    with pytest.raises(ConfigurationError, match=r"no such directory.*WHISPER_MODEL"):
        load_model(settings("/nowhere/at/all"))


def test_an_unknown_size_lists_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="large-v3"):
        load_model(settings("humongous"))


def test_without_network_the_error_says_what_to_place_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"faster-whisper-base could not be fetched.*model.bin.*WHISPER_MODEL"):
        load_model(settings("base"))


def test_a_model_in_the_hubs_cache_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The layout that the hub's own client leaves behind."""
    repository = tmp_path / "models--someone--tiny-english"
    snapshot = repository / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(DEMO, snapshot, ignore=shutil.ignore_patterns("recipe"))
    (snapshot / "amanuensis.json").unlink()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = load_model(settings("someone/tiny-english"))
    assert model.name == "tiny-english"
    assert model.path == snapshot


@pytest.mark.parametrize("missing", ["model.bin", "tokenizer.json", "vocabulary.json"])
def test_a_missing_file_is_named(copy: Path, missing: str) -> None:
    (copy / missing).unlink()
    with pytest.raises(ConfigurationError, match=missing):
        load_model(settings(copy))


def test_a_model_file_of_another_kind(copy: Path) -> None:
    (copy / "model.bin").write_bytes(b"nonsense" * 100)
    with pytest.raises(ConfigurationError, match="WHISPER_MODEL"):
        load_model(settings(copy))


def test_a_malformed_card(copy: Path) -> None:
    (copy / "amanuensis.json").write_text(json.dumps({"max_window_s": 60}))
    with pytest.raises(ConfigurationError, match="max_window_s"):
        load_model(settings(copy))
