"""Settings: YAML below environment, the prototype's names, clear errors, sequential mode."""

import pickle
from dataclasses import asdict

import pytest

from deployments.shared.cores import defaults_for
from deployments.shared.errors import ConfigurationError
from deployments.shared.settings import LIVE, OTHER_VARIABLES, Settings, environment_variable
from tests.support.configuration_page import COMMAND, PAGE, is_up_to_date


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WHISPER_MODEL", "NUM_LOAD_WORKERS", "BATCH_SIZE", "ENABLE_PIPELINE", "DEVICE", "COMPUTE_TYPE"):
        monkeypatch.delenv(name, raising=False)


def test_environment_beats_yaml_beats_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.resolve({}).slots == 16
    assert Settings.resolve({"slots": 8}).slots == 8
    monkeypatch.setenv("AMANUENSIS_SLOTS", "4")
    assert Settings.resolve({"slots": 8}).slots == 4


def test_the_prototypes_variables_stay_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_MODEL", "base")
    monkeypatch.setenv("NUM_LOAD_WORKERS", "3")
    monkeypatch.setenv("NUM_DECODER_WORKERS", "2")
    monkeypatch.setenv("MAX_QUEUE_SIZE", "7")
    monkeypatch.setenv("BATCH_SIZE", "5")
    monkeypatch.setenv("COMPUTE_TYPE", "float32")
    monkeypatch.setenv("DEVICE", "cpu")
    monkeypatch.setenv("HF_TOKEN", "secret")
    settings = Settings.resolve({"whisper_model": "small"})
    assert settings.whisper_model == "base"
    assert (settings.mel_replicas, settings.decoder_replicas) == (3, 2)
    assert (settings.max_queue_size, settings.decoder_batch_size) == (7, 5)
    assert settings.compute_type == "float32"
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("field", Settings.model_fields)
def test_a_variable_that_is_empty_counts_as_not_set(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    otherwise = Settings.resolve({"slots": 9})
    for variable in (environment_variable(field), f"AMANUENSIS_{field.upper()}"):
        monkeypatch.setenv(variable, "")
    assert Settings.resolve({"slots": 9}) == otherwise


def test_sequential_mode_is_the_same_graph_with_one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENABLE_PIPELINE", "false")
    settings = Settings.resolve({"mel_replicas": 4, "max_decoder_replicas": 4, "encoder_replicas": 2})
    assert (settings.slots, settings.max_windows_in_flight) == (1, 1)
    assert (settings.mel_replicas, settings.encoder_replicas, settings.decoder_replicas) == (1, 1, 1)
    assert (settings.max_mel_replicas, settings.max_decoder_replicas) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"slts": 4}, "slts"),
        ({"slots": 0}, "slots"),
        ({"slots": "many"}, "slots"),
        ({"slots": 2, "max_windows_in_flight": 3}, "max_windows_in_flight"),
        ({"mel_replicas": 3, "max_mel_replicas": 2}, "max_mel_replicas"),
        ({"decoder_replicas": 3, "max_decoder_replicas": 2}, "max_decoder_replicas"),
        ({"max_decoder_replicas": -1}, "max_decoder_replicas"),
        ({"encoder_backend": "tpu"}, "encoder_backend"),
        ({"request_timeout_s": 100, "max_request_timeout_s": 99}, "max_request_timeout_s"),
        ({"timeout_per_audio_s": 0}, "timeout_per_audio_s"),
        ({"fallback_temperatures": [2.0]}, "fallback_temperatures"),
        ({"allowed_hosts": ["http://amanuensis"]}, "allowed_hosts.0: 'http://amanuensis' is no host name"),
        ({"allowed_hosts": ["amanuensis:9000"]}, "allowed_hosts"),
        ({"allowed_hosts": ["*.example.org"]}, "allowed_hosts"),
        ({"allowed_hosts": [""]}, "allowed_hosts"),
        ({"cors_origins": ["app.example.org"]}, "cors_origins.0: 'app.example.org' is no origin"),
        ({"cors_origins": ["https://app.example.org/"]}, "cors_origins"),
        ({"cors_origins": ["https://*.example.org"]}, "cors_origins"),
        ({"cors_origins": ["null"]}, "cors_origins"),
    ],
)
def test_a_bad_setting_is_named(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Settings.resolve(arguments)


def test_replicas_get_an_equal_copy() -> None:
    settings = Settings.resolve({"slots": 9})
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301  (our own bytes)


def test_the_page_of_the_configuration_is_what_the_settings_say() -> None:
    assert is_up_to_date(PAGE), f"write it again: {COMMAND}"


def test_other_names_and_live_changes_are_of_settings_that_exist() -> None:
    assert Settings.model_fields.keys() >= {*OTHER_VARIABLES, *LIVE}


@pytest.mark.parametrize("field", ["slots", "mel_replicas", "decoder_batch_size", "encoder_threads"])
def test_every_setting_has_a_prefixed_variable_and_the_one_that_is_documented(
    field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AMANUENSIS_{field.upper()}", "6")
    assert getattr(Settings.resolve({field: 5}), field) == 6
    monkeypatch.setenv(environment_variable(field), "7")
    assert getattr(Settings.resolve({field: 5}), field) == 7


def test_a_contradiction_is_told_without_the_words_of_the_library() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.resolve({"slots": 2, "max_windows_in_flight": 3})
    assert str(raised.value) == "Invalid settings: max_windows_in_flight must not exceed slots"


def test_a_wrong_setting_is_not_blamed_on_the_defaults_that_would_follow_from_it() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.resolve({"decoder_replicas": 0})
    assert str(raised.value) == "Invalid settings: decoder_replicas: Input should be greater than or equal to 1"


class TestSixteenCores:
    @pytest.fixture(autouse=True)
    def _sixteen_cores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("deployments.shared.settings.usable_cores", lambda: 16)

    def test_every_default_that_depends_on_the_cores_is_taken(self) -> None:
        resolved = Settings.resolve({}).model_dump()
        assert {name: resolved[name] for name in asdict(defaults_for(16))} == asdict(defaults_for(16))

    def test_zero_says_that_none_is_added_and_other_values_win_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AMANUENSIS_MAX_MEL_REPLICAS", "0")
        settings = Settings.resolve({"max_decoder_replicas": 0, "encoder_threads": 1, "slots": 5})
        assert (settings.max_mel_replicas, settings.max_decoder_replicas) == (0, 0)
        assert (settings.encoder_threads, settings.slots) == (1, 5)

    @pytest.mark.parametrize(("replicas", "most"), [(6, 7), (7, 0), (9, 0)])
    def test_as_many_replicas_as_the_cores_allow_do_not_grow(self, replicas: int, most: int) -> None:
        assert Settings.resolve({"decoder_replicas": replicas}).max_decoder_replicas == most

    def test_encoders_and_the_threads_of_decoders_share_what_the_cores_allow(self) -> None:
        assert Settings.resolve({"encoder_replicas": 2}).encoder_threads == 3
        assert Settings.resolve({"encoder_replicas": 9}).encoder_threads == 1
        assert Settings.resolve({"decoder_threads": 3}).max_decoder_replicas == 2

    def test_replicas_on_smaller_machines_keep_what_was_resolved(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings.resolve({})
        monkeypatch.setattr("deployments.shared.settings.usable_cores", lambda: 2)
        assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301  (our own bytes)
        assert settings.changed({"max_queue_size": 3}).slots == settings.slots


class TestLiveChanges:
    def test_a_change_wins_over_the_environment_and_leaves_the_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MAX_QUEUE_SIZE", "7")
        settings = Settings.resolve({"slots": 9})
        changed = settings.changed({"max_queue_size": 3, "encoder_budget_s": 2})
        assert (changed.max_queue_size, changed.encoder_budget_s, changed.slots) == (3, 2.0, 9)
        assert settings.max_queue_size == 7

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"slots": 4}, "slots"),
            ({"speed": 1}, "speed"),
            ({"max_queue_size": -1}, "max_queue_size"),
            ({1: 2, "slots": 4}, "not 1, slots"),
            (["max_queue_size"], "must be a mapping"),
            ("max_queue_size: 64", "must be a mapping"),
            (None, "must be a mapping"),
        ],
        ids=str,
    )
    def test_what_cannot_change_is_named(self, changes: object, named: str) -> None:
        with pytest.raises(ConfigurationError, match=named):
            Settings.resolve({}).changed(changes)
