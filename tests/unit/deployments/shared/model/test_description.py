"""Finding a model and reading its card; without network the error says what to place where."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from deployments.decoder.generation import TextGenerator
from deployments.decoder.steps import DecodeItem
from deployments.mel.log_mel import log_mel
from deployments.shared.contracts import DecodeOptions, Window
from deployments.shared.errors import ConfigurationError
from deployments.shared.frames import BUCKETS
from deployments.shared.model.description import every_so_many, load_model
from deployments.shared.model.files import sha256
from deployments.shared.model.silence import SHIPPED, SilenceDescription
from deployments.shared.settings import Settings
from loadtests.common.random_whisper import Shape
from npu_encoder.loading import load_backend
from npu_encoder.silence import TrailingSilence, write_silence
from tests.support.paths import DEMO_MODEL
from tests.support.real_model import real_base
from tests.support.tiny_whisper import make_english_model, make_multilingual_model


def settings(model: Path | str, **others: object) -> Settings:
    return Settings.resolve({"whisper_model": str(model), **others})


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The demo model where a test may spoil it."""
    path = tmp_path / "my-model"
    shutil.copytree(DEMO_MODEL, path, ignore=shutil.ignore_patterns("recipe"))
    return path


def test_the_demo_model() -> None:
    model = load_model(settings(DEMO_MODEL))
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
    assert load_model(settings(DEMO_MODEL, audio_context="full")).audio_context == "full"


def put_silence(model: Path, *, passed: bool = True, of: Path | None = None) -> Path:
    """Write averages for the weights of ``of`` beside the model, all of them 0."""
    weights = (of or model) / "model.bin"
    description = SilenceDescription(
        model_sha256=sha256(weights),
        model_bytes=weights.stat().st_size,
        recordings=2,
        windows=3,
        checked_windows=1,
        lost_nats=0.01,
        not_good=0.0,
        passed=passed,
    )
    silence = TrailingSilence(np.zeros((4, 94, 192), np.float32), np.zeros((750, 192), np.float32), 1500)
    write_silence(model / "silence.npz", silence, description.model_dump())
    return model / "silence.npz"


def test_a_tuned_model_gets_the_speech_alone(copy: Path) -> None:
    (copy / "amanuensis.json").unlink()
    file = put_silence(copy)
    model = load_model(settings(copy))
    assert (model.audio_context, model.silence, model.frame_buckets) == ("trimmed", file, BUCKETS)
    full = load_model(settings(copy, audio_context="full"))
    assert (full.audio_context, full.silence, full.frame_buckets) == ("full", None, (3000,))


@pytest.mark.parametrize(
    ("at_most", "chosen"),
    [(99, BUCKETS), (11, BUCKETS), (4, (320, 704, 1280, 3000)), (3, (448, 1024, 3000)), (1, (3000,))],
)
def test_a_large_model_has_fewer_lengths(at_most: int, chosen: tuple[int, ...]) -> None:
    assert every_so_many(BUCKETS, at_most) == chosen


def test_a_model_that_is_trained_for_it_needs_no_averages(copy: Path) -> None:
    put_silence(copy)
    assert load_model(settings(copy)).silence is None


def test_averages_that_failed_their_check_are_used_only_where_that_is_asked_for(copy: Path) -> None:
    (copy / "amanuensis.json").unlink()
    file = put_silence(copy, passed=False)
    model = load_model(settings(copy))
    assert (model.audio_context, model.silence) == ("full", None)
    model = load_model(settings(copy, audio_context="trimmed"))
    assert (model.audio_context, model.silence) == ("trimmed", file)


def test_another_encoder_than_openvino_gets_the_full_window(copy: Path) -> None:
    (copy / "amanuensis.json").unlink()
    put_silence(copy)
    assert load_model(settings(copy, encoder_backend="ctranslate2")).audio_context == "full"


def test_trimming_needs_what_stands_for_the_silence(copy: Path) -> None:
    (copy / "amanuensis.json").unlink()
    with pytest.raises(ConfigurationError, match=r"needs silence.npz .* amanuensis model tune"):
        load_model(settings(copy, audio_context="trimmed"))


def test_averages_of_other_weights_are_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "amanuensis.json").unlink()
    put_silence(copy, of=make_multilingual_model(tmp_path / "tiny"))
    with pytest.raises(ConfigurationError, match=r"was made for another model.bin"):
        load_model(settings(copy))


def test_a_damaged_file_of_averages_is_refused(copy: Path) -> None:
    (copy / "amanuensis.json").unlink()
    (copy / "silence.npz").write_bytes(b"PK damaged")
    with pytest.raises(ConfigurationError, match=r"silence.npz .* amanuensis model tune"):
        load_model(settings(copy))


def test_a_multilingual_model_knows_its_languages(tmp_path: Path) -> None:
    make_multilingual_model(tmp_path / "tiny")
    model = load_model(settings(tmp_path / "tiny"))
    assert model.multilingual
    assert {"en", "de", "fr"} <= set(model.languages)


def test_no_such_directory() -> None:
    with pytest.raises(ConfigurationError, match=r"WHISPER_MODEL=/nowhere/at/all is no such directory.*model\.bin"):
        load_model(settings("/nowhere/at/all"))


def test_an_unknown_size_lists_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="large-v3"):
        load_model(settings("humongous"))


def test_a_model_in_the_hubs_cache_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The layout that the hub's own client leaves behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    repository = tmp_path / "models--someone--tiny-english"
    snapshot = repository / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(DEMO_MODEL, snapshot, ignore=shutil.ignore_patterns("recipe"))
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
    with pytest.raises(ConfigurationError, match=f"{copy} holds no model that can be served"):
        load_model(settings(copy))


def test_a_malformed_card(copy: Path) -> None:
    (copy / "amanuensis.json").write_text(json.dumps({"max_window_s": 60}))
    with pytest.raises(ConfigurationError, match="max_window_s"):
        load_model(settings(copy))


class TestShapes:
    """Models of other sizes, with random weights."""

    def test_large_v3_takes_128_mel_bins_and_knows_cantonese(self, tmp_path: Path) -> None:
        make_multilingual_model(tmp_path / "large", n_mels=128, languages=("en", "yue"))
        model = load_model(settings(tmp_path / "large"))
        assert model.dimensions.n_mels == 128
        assert model.languages == ("en", "yue")

    def test_a_small_english_model_detects_nothing(self, tmp_path: Path) -> None:
        shape = Shape(768, heads=12, encoder_layers=1, decoder_layers=1)
        make_english_model(tmp_path / "small.en", shape=shape)
        model = load_model(settings(tmp_path / "small.en"))
        assert not model.multilingual
        assert model.languages == ("en",)
        assert (model.dimensions.d_model, model.dimensions.n_heads) == (768, 12)

    def test_the_weights_decide_where_nothing_says_how_many_mel_bins(self, tmp_path: Path) -> None:
        make_multilingual_model(tmp_path / "large", n_mels=128)
        (tmp_path / "large" / "preprocessor_config.json").unlink()
        assert load_model(settings(tmp_path / "large")).dimensions.n_mels == 128

    def test_a_contradiction_about_the_mel_bins_names_both_files(self, tmp_path: Path) -> None:
        make_multilingual_model(tmp_path / "mixed", n_mels=80)
        (tmp_path / "mixed" / "preprocessor_config.json").write_text(json.dumps({"feature_size": 128}))
        with pytest.raises(ConfigurationError, match=r"preprocessor_config\.json asks for 128 .* model\.bin take 80"):
            load_model(settings(tmp_path / "mixed"))

    def test_a_malformed_preprocessor_is_named(self, tmp_path: Path) -> None:
        make_multilingual_model(tmp_path / "tiny")
        (tmp_path / "tiny" / "preprocessor_config.json").write_text("[")
        with pytest.raises(ConfigurationError, match=r"preprocessor_config\.json is malformed"):
            load_model(settings(tmp_path / "tiny"))

    def test_weights_for_another_input_than_whispers_are_refused(self, tmp_path: Path) -> None:
        make_multilingual_model(tmp_path / "odd", n_mels=40)
        with pytest.raises(ConfigurationError, match="takes 40 mel bins; Whisper models take 80 or 128"):
            load_model(settings(tmp_path / "odd"))

    @pytest.mark.parametrize("n_mels", [80, 128])
    def test_a_window_passes_through_mel_encoder_and_decoder(self, tmp_path: Path, n_mels: int) -> None:
        make_multilingual_model(tmp_path / "any", n_mels=n_mels)
        model = load_model(settings(tmp_path / "any"))
        mel = np.empty((n_mels, 3000), np.float32)
        log_mel(np.random.default_rng(0).integers(-9000, 9000, 80_000).astype(np.int16), mel)
        states = np.empty((1500, model.dimensions.d_model), np.float32)
        load_backend(model.path, backend="openvino").encode([mel], [states])
        item = DecodeItem(states, Window(0, 0.0, 5.0), DecodeOptions(language="en"))
        (transcript,) = TextGenerator(model.path).generate([item])
        assert np.isfinite(states).all()
        assert transcript.language == "en"


def test_the_default_is_whisper_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHISPER_MODEL", raising=False)
    assert Settings.resolve({}).whisper_model == "base"
    real = real_base()
    model = load_model(Settings.resolve({}))
    assert (model.name, model.path, model.audio_context, model.max_window_s) == ("base", real, "trimmed", 30)
    assert model.silence == SHIPPED / "base.npz"
    assert model.frame_buckets == BUCKETS
    assert (model.multilingual, len(model.languages)) == (True, 99)
    assert "yue" not in model.languages, "Cantonese came with large-v3"
    dimensions = model.dimensions
    assert (dimensions.n_mels, dimensions.d_model, dimensions.n_heads, dimensions.n_layers) == (80, 512, 8, 6)
