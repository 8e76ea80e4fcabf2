"""Settings: YAML below environment, the prototype's names, clear errors, sequential mode."""

import pickle
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from deployments.shared.cores import defaults_for
from deployments.shared.errors import ConfigurationError
from deployments.shared.settings import LIVE, NO_SETTINGS, OTHER_VARIABLES, Settings, environment_variable
from tests.support.configuration_page import COMMAND, PAGE, is_up_to_date

JSON_LIST = '["whisper-1", "gpt-4o-transcribe"]'


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
    monkeypatch.setenv("HF_TOKEN", "sesame")
    settings = Settings.resolve({"whisper_model": "small"})
    assert settings.whisper_model == "base"
    assert (settings.mel_replicas, settings.decoder_replicas) == (3, 2)
    assert (settings.max_queue_size, settings.decoder_batch_size) == (7, 5)
    assert settings.compute_type == "float32"
    assert "sesame" not in repr(settings)


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


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("AMANUENSIS_API_KEY_FILE", "AMANUENSIS_API_KEYS_FILE"),
        ("AMANUENSIS_REQUEST_PER_MINUTE", "AMANUENSIS_REQUESTS_PER_MINUTE"),
        ("amanuensis_slot", "AMANUENSIS_SLOTS"),
        ("Amanuensis_Beam_Sizes", "AMANUENSIS_BEAM_SIZE"),
    ],
)
def test_a_misspelt_variable_stops_the_start_and_the_nearest_setting_is_named(
    variable: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigurationError) as raised:
        Settings.resolve({})
    assert str(raised.value) == f"Invalid settings: {variable} is not a setting (did you mean {meant}?)"


def test_a_variable_that_is_like_no_setting_is_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMANUENSIS_XYZ", "1")
    with pytest.raises(ConfigurationError, match=r"AMANUENSIS_XYZ is not a setting$"):
        Settings.resolve({})


def test_every_mistake_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMANUENSIS_SLOT", "1")
    with pytest.raises(ConfigurationError) as raised:
        Settings.resolve({"beam_sise": 2, "slots": 0})
    for problem in ("AMANUENSIS_SLOT is", "beam_sise is not a setting (did you mean beam_size?)", "slots: Input"):
        assert problem in str(raised.value)


@pytest.mark.parametrize("variable", [*sorted(NO_SETTINGS), "amanuensis_slots", "AMANUENSIS_SLOTS", "API_KEYS"])
def test_other_variables_and_those_in_another_case_are_no_mistakes(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "8")
    Settings.resolve({})


@pytest.mark.parametrize(
    "variable",
    [
        "AMANUENSIS_SERVICE_HOST",
        "AMANUENSIS_PORT",
        "AMANUENSIS_SERVE_SVC_SERVICE_PORT_SERVE",
        "AMANUENSIS_HEAD_SVC_PORT_6379_TCP_ADDR",
    ],
)
def test_what_kubernetes_tells_of_a_service_of_our_name_is_no_mistake_there(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "tcp://10.0.0.1:9000")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    Settings.resolve({})
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(ConfigurationError, match=variable):
        Settings.resolve({})


@pytest.mark.parametrize("text", ["whisper-1,gpt-4o-transcribe", " whisper-1 , gpt-4o-transcribe,", JSON_LIST])
def test_a_list_has_commas_or_is_json(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMANUENSIS_MODEL_ALIASES", text)
    monkeypatch.setenv("AMANUENSIS_FALLBACK_TEMPERATURES", "0.2,0.4")
    settings = Settings.resolve({})
    assert settings.model_aliases == ("whisper-1", "gpt-4o-transcribe")
    assert settings.fallback_temperatures == (0.2, 0.4)
    assert Settings.resolve({"fallback_temperatures": [0.6]}).fallback_temperatures == (0.2, 0.4)


@pytest.mark.parametrize("value", ["", "[", "{", "nonsense", "[1, {}]", "~nobody-of-this-name/x"])
def test_whatever_a_variable_holds_is_a_value_or_a_mistake_that_is_told(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for field in Settings.model_fields:
        with monkeypatch.context() as patched, suppress(ConfigurationError):
            patched.setenv(f"AMANUENSIS_{field.upper()}", value)
            Settings.resolve({})


def test_the_page_names_the_variables_that_are_no_settings() -> None:
    assert all(f"`{name}`" in PAGE.read_text(encoding="utf-8") for name in NO_SETTINGS)


def test_arguments_that_are_left_empty_are_none() -> None:
    assert Settings.resolve(None) == Settings.resolve({})
    with pytest.raises(ConfigurationError, match="True is not a setting"):
        Settings.resolve({True: 1})  # type: ignore[dict-item]  # YAML has keys that are no text


PATHS = (
    *("shared_memory_dir", "failure_log_dir", "jobs_dir", "npu_kernels", "npu_scenario", "api_keys_file"),
    "align_model",
)


def test_relative_paths_are_seen_from_where_the_service_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    (tmp_path / "place").mkdir()
    for name, there in (("place", tmp_path / "place"), ("/place", Path("/place")), ("~/place", "/home/ann/place")):
        settings = Settings.resolve({"npu_simulator": True, **dict.fromkeys(PATHS, name)})
        paths = {field: getattr(settings, field) for field in PATHS}
        assert paths.pop("align_model") == (str(there) if name == "place" else name), "a directory, or a hub id"
        assert set(paths.values()) == {Path(there)}


def test_hosts_of_callbacks_are_kept_as_the_origins_of_their_urls() -> None:
    written = "Hooks.example.org, hooks.example.org:8443, http://127.0.0.1:8080, https://a.example.org:443, [::1]:9"
    assert Settings.resolve({"callback_hosts": written}).callback_hosts == (
        *("https://hooks.example.org", "https://hooks.example.org:8443", "http://127.0.0.1:8080"),
        *("https://a.example.org", "https://[::1]:9"),
    )


@pytest.mark.parametrize(
    "host", ["*", "a.org/done", "https://a.org/", "a.org:", "a.org:x", "user@a.org", "ftp://a.org", "a.org?x", "a b"]
)
def test_what_is_no_host_of_callbacks_stops_the_start(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is no host"):
        Settings.resolve({"callback_hosts": [host]})


def test_every_path_is_made_absolute() -> None:
    fields = {name for name, field in Settings.model_fields.items() if "Path" in str(field.annotation)}
    assert fields == {*PATHS} - {"align_model"}


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
