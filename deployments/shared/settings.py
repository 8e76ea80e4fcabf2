"""Every setting of the service: one frozen, validated object, resolved here and nowhere else.

Sources, strongest first: environment variables, the ``args`` of the application in ``serve_config.yaml``, the
defaults below. Every field is read from ``AMANUENSIS_<FIELD>``; the names that the prototype used stay valid.
Environment variables are those of the process that started Ray.

The descriptions are the text of ``docs/configuration.md``: ``python -m tests.support.configuration_page --update``
writes that page again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AliasChoices,
    AliasGenerator,
    Field,
    SecretStr,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from deployments.shared.cores import DECODER_BATCH, CoreDefaults, defaults_for, usable_cores
from deployments.shared.errors import ConfigurationError
from deployments.shared.sequential_mode import SEQUENTIAL_SETTINGS
from deployments.shared.setting_values import (
    AbsolutePath,
    Listed,
    NameOrDirectory,
    NotNegative,
    Positive,
    Seconds,
)
from deployments.shared.speaker_models import BUILT_IN_SPEAKERS
from deployments.shared.spelling import unknown
from deployments.shared.web_names import CallbackHost, HostName, Origin

ENV_PREFIX: Final = "AMANUENSIS_"

OTHER_VARIABLES: Final = {
    "whisper_model": "WHISPER_MODEL",
    "hf_token": "HF_TOKEN",
    "device": "DEVICE",
    "compute_type": "COMPUTE_TYPE",
    "mel_replicas": "NUM_LOAD_WORKERS",
    "decoder_replicas": "NUM_DECODER_WORKERS",
    "decoder_batch_size": "BATCH_SIZE",
    "enable_pipeline": "ENABLE_PIPELINE",
    "max_queue_size": "MAX_QUEUE_SIZE",
    "otlp_endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
}
"""Field -> the variable that the prototype or another program knows it by. It wins over ``AMANUENSIS_<FIELD>``."""

NO_SETTINGS: Final = frozenset(
    {
        "AMANUENSIS_URL",
        "AMANUENSIS_API_KEY",
        "AMANUENSIS_DASHBOARD_PORT",
        "AMANUENSIS_HAPROXY_HOST",
        "AMANUENSIS_HAPROXY_STATISTICS_HOST",
    }
)
"""Variables with the prefix that are no settings: commands that call a service read the first two, and what starts Ray
and HAProxy the others."""

KUBERNETES: Final = "KUBERNETES_SERVICE_HOST"
"""A variable that every container in Kubernetes has."""

KUBERNETES_VARIABLE: Final = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
"""What Kubernetes tells a container of each Service beside it: those called ``amanuensis...`` have the prefix too."""

LIVE: Final = frozenset(
    {
        "max_queue_size",
        "max_upload_bytes",
        "request_timeout_s",
        "timeout_per_audio_s",
        "max_request_timeout_s",
        "mel_budget_s",
        "encoder_budget_s",
        "decoder_budget_s",
        "diarizer_budget_s",
    }
)
"""What a running service can change: ``user_config`` of the deployment ``Ingress``."""

DEFAULT_NOT_MADE: Final = "default_factory_not_called"
"""Pydantic's complaint that another setting is wrong, from which a default would follow."""


def environment_variable(field: str) -> str:
    """Return the environment variable that the documentation names for a setting."""
    return OTHER_VARIABLES.get(field, ENV_PREFIX + field.upper())


def _names(field: str) -> Any:
    """Return the names of a field that has another variable; None: its own and its prefixed name are all it has.

    Its own name comes first, so that errors use it.
    """
    variable = OTHER_VARIABLES.get(field)
    return None if variable is None else AliasChoices(field, variable, ENV_PREFIX + field.upper())


def _by_cores() -> CoreDefaults:
    return defaults_for(usable_cores())


def _threads_of_one(threads: int, encoders: int) -> int:
    """Return what each of several Encoders has of the threads that the cores allow."""
    return max(1, threads // encoders)


def _limit_above(fewest: int, most: int) -> int:
    """Return a limit that the cores allow; 0 where as many replicas are there at rest."""
    return most if most > fewest else 0


class Settings(BaseSettings):
    """The service's configuration. Times in seconds, sizes in bytes unless the name says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,  # compose files pass on variables that nobody set as empty ones
        alias_generator=AliasGenerator(validation_alias=_names),
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        protected_namespaces=(),
    )

    # Model
    whisper_model: str = Field(
        "base",
        description="the model: a size name such as `base`, a hub id, or the directory of a CTranslate2 Whisper model",
    )
    model_aliases: Listed[str] = Field(
        ("whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"),
        description="further names that clients may ask for, also with a date behind them as OpenAI's have",
    )
    accept_any_model: bool = Field(
        False, description="answer a request for any other model too, with a warning that names the one that is served"
    )
    hf_token: SecretStr | None = Field(None, description="token for hub repositories that ask for one")
    audio_context: Literal["auto", "full", "trimmed"] = Field(
        "auto",
        description="`full` encodes 30 s for every window, `trimmed` encodes the speech only; `auto` trims where the "
        "model is trained for it, or tuned for it with a check that passed (`amanuensis model tune`), as `base` is",
    )
    align_model: NameOrDirectory | None = Field(
        None,
        description="directory or hub id of a wav2vec2 model: WhisperX then finds the word times, instead of the "
        "decoder's cross-attention",
    )
    align_language: str = Field("en", description="ISO code of the language that `align_model` knows")

    # Text
    diarization_model: NameOrDirectory = Field(
        BUILT_IN_SPEAKERS,
        description="what tells speakers apart (`diarize`): `built-in`, `off`, or the hub id or directory of a "
        "pyannote pipeline, such as `pyannote/speaker-diarization-community-1`, which needs `hf_token`",
    )
    compute_type: Literal["auto", "default", "int8", "int8_float32", "int8_bfloat16", "bfloat16", "float32"] = Field(
        "int8", description="CTranslate2's arithmetic in the decoder"
    )
    ctranslate2_device: Literal["cpu", "cuda"] = Field(
        "cpu",
        description="what CTranslate2 computes on, in the decoder and in `encoder_backend: ctranslate2`; the GPU of a "
        "build for ROCm is called `cuda` too",
    )
    beam_size: Annotated[int, Field(ge=1, le=10)] = Field(
        1, description="beams while the temperature is 0; 1 is greedy"
    )
    fallback_temperatures: Listed[Annotated[float, Field(gt=0, le=1)]] = Field(
        (),
        description="temperatures to sample at, in turn, where the deterministic searches leave a text that repeats "
        "itself or is improbable. Each one loads the model once more for a moment, so that the same audio gives the "
        "same text; empty: no sampling",
    )

    # Encoder and device
    device: Literal["cpu", "npu"] = Field("cpu", description="device of the encoder")
    encoder_backend: Literal["openvino", "ctranslate2", "onnxruntime"] = Field(
        "openvino", description="library that runs the encoder where `device` is `cpu`"
    )
    onnx_provider: str = Field(
        "CPUExecutionProvider",
        description="execution provider of `onnxruntime`, by its name; it has to compute the whole encoder",
    )
    encoder_precision: str = Field(
        "auto",
        description="`openvino`: `auto` (bf16 where the CPU has it), `bf16` or `f32`; `ctranslate2`: a compute type; "
        "`onnxruntime`: `f32`",
    )
    encoder_replicas: Positive = Field(
        1, description="number of Encoders, each pinned to one Ray resource `npu`: as many as there are devices"
    )
    encoder_threads: Positive = Field(
        default_factory=lambda given: _threads_of_one(_by_cores().encoder_threads, given["encoder_replicas"]),
        description="CPU threads of one Encoder; by default several Encoders share what is named here",
    )
    encoder_batch_size: Positive = Field(
        8, description="windows that an NPU works on at the same time; a CPU works on one per thread"
    )
    npu_kernels: AbsolutePath | None = Field(
        None, description="directory of the NPU's compiled kernels: `amanuensis npu build`"
    )
    npu_precision: Literal["auto", "bf16", "int8", "int8-bf16-fc2"] = Field(
        "auto", description="precision of the linear layers on the NPU; `auto` is bf16"
    )
    npu_contexts: Annotated[int, Field(ge=1, le=16)] = Field(
        1, description="hardware contexts per xclbin; more than 1 pays only with a firmware that partitions the device"
    )
    npu_simulator: bool = Field(
        False, description="simulate the NPU, for tests; its speed is that of a model, not measured"
    )
    npu_scenario: AbsolutePath | None = Field(
        None, description="file that says what the simulated NPU is, and what goes wrong with it"
    )
    on_device_failure: Literal["fail", "cpu"] = Field(
        "fail", description="what follows when the NPU has failed for good: refuse requests, or encode on the CPU"
    )

    # Replicas and threads
    mel_replicas: Positive = Field(1, description="number of MelPreprocessor replicas")
    max_mel_replicas: NotNegative = Field(
        default_factory=lambda given: _limit_above(given["mel_replicas"], _by_cores().max_mel_replicas),
        description="upper limit to which MelPreprocessor replicas are added under load; 0: never add one",
    )
    mel_threads: Positive = Field(
        2,
        description="audio files that one MelPreprocessor replica works on at the same time; with two or more, one is "
        "reserved for short files",
    )
    decoder_replicas: Positive = Field(1, description="number of Decoder replicas")
    decoder_threads: Positive = Field(1, description="CPU threads of each of the two lanes of a Decoder replica")
    max_decoder_replicas: NotNegative = Field(
        default_factory=lambda given: _limit_above(
            given["decoder_replicas"], _by_cores().max_decoder_replicas // given["decoder_threads"]
        ),
        description="upper limit to which Decoder replicas are added under load; 0: never add one",
    )
    decoder_batch_size: Positive = Field(DECODER_BATCH, description="most windows in one batch of a Decoder")
    max_diarizer_replicas: Positive = Field(
        1,
        description="upper limit of Diarizer replicas; the first one starts with the first request that asks for "
        "speakers, and goes when there was none for a while",
    )
    diarizer_threads: Positive = Field(
        2,
        description="recordings that one Diarizer replica works on at the same time; with two or more, one thread is "
        "reserved for short ones",
    )

    # Queue and slots
    enable_pipeline: bool = Field(True, description="`false` is sequential mode: the same graph with one slot")
    slots: Positive = Field(
        default_factory=lambda: _by_cores().slots,
        description="most windows in flight; each has room in the shared-memory slab. By default fewer where "
        "`shared_memory_dir` is small",
    )
    max_queue_size: Annotated[int, Field(ge=0)] = Field(
        256, description="requests that may wait for a slot; more are refused with 503"
    )
    priority_ageing_s: Seconds = Field(
        10.0, description="waiting time that lifts a request by one priority; up to 40 where the service is slow"
    )
    max_windows_in_flight: Positive = Field(4, description="slots that one request may hold at the same time")
    handoff: Literal["auto", "shared_memory", "object_store"] = Field(
        "auto", description="how arrays travel between stages; `auto` is shared memory where there is one node"
    )
    shared_memory_dir: AbsolutePath = Field(Path("/dev/shm"), description="directory of the slab and of uploads")  # noqa: S108

    # Time
    request_timeout_s: Seconds = Field(60.0, description="least time for a request that names no timeout")
    timeout_per_audio_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1.0,
        description="time for a request that names no timeout, per second of its audio, where that is more than "
        "`request_timeout_s`",
    )
    max_request_timeout_s: Seconds = Field(7200.0, description="largest `x-timeout-seconds` that a client may send")
    mel_budget_s: Seconds = Field(
        10.0, description="a MelPreprocessor that has work and finishes nothing for this long hangs"
    )
    encoder_budget_s: Seconds = Field(
        5.0,
        description="an Encoder that has work and finishes nothing for this long hangs; longer if the model is slow",
    )
    decoder_budget_s: Seconds = Field(
        15.0,
        description="a Decoder that has work and finishes nothing for this long hangs; longer if the model is slow",
    )
    diarizer_budget_s: Seconds = Field(
        30.0, description="a Diarizer that has work and finishes nothing for this long hangs"
    )
    drain_timeout_s: Seconds = Field(
        60.0, description="longest time that a service which stops waits for the requests it has accepted"
    )

    # Limits of an upload
    max_upload_bytes: Positive = Field(100 * 2**20, description="largest request body")
    upload_timeout_s: Seconds = Field(
        30.0, description="a request body of which too little arrives in this time is refused"
    )
    min_upload_bytes_per_s: NotNegative = Field(
        8192,
        description="what must arrive of a body that takes longer than `upload_timeout_s`, on the average of each such "
        "time; 0: anything",
    )
    max_audio_s: Seconds = Field(
        3660.0, description="longest decoded audio: an hour, and what audio formats add to it at the ends"
    )
    max_channels: Positive = Field(8, description="most audio channels")

    # Clients
    api_keys_file: AbsolutePath | None = Field(
        None, description="file of API keys, made with `amanuensis keys`; none: everybody may call"
    )
    requests_per_minute: Positive | None = Field(
        None,
        description="audio requests that one client may send per minute, a sixth of them at once; none: no limit",
    )
    max_concurrent_requests: Positive | None = Field(
        None, description="audio requests of one client that may run at the same time; none: no limit"
    )
    allowed_hosts: Listed[HostName] = Field(
        (),
        description="names that clients may call a service without API keys by, beside `localhost`, what ends in "
        "`.localhost`, and IP addresses; `*` allows every name; with API keys every name is allowed",
    )
    cors_origins: Listed[Origin] = Field(
        (),
        description="origins of the web pages whose scripts may call the service and read its answers, such as "
        "`https://app.example.org`; `*` allows every page",
    )

    # Live transcription
    max_live_sessions: NotNegative = Field(
        64, description="live sessions that may be open at the same time; 0: live transcription is off"
    )
    max_live_session_s: Seconds = Field(3600.0, description="longest time that a live session may last")
    live_idle_timeout_s: Seconds = Field(
        300.0, description="a live session from whose client nothing comes for this long is closed"
    )
    max_live_ahead_s: Seconds = Field(
        60.0, description="audio that a live client may send ahead of what was heard of it; more closes its session"
    )
    max_live_buffer_s: Seconds = Field(
        120.0, description="longest utterance of a live client that commits by itself (`turn_detection: null`)"
    )

    # Jobs
    jobs_dir: AbsolutePath | None = Field(
        None,
        description="directory of its own for the recordings and results of jobs (`async=true`), on the machine of the "
        "Ingress; none: no jobs are taken",
    )
    jobs_at_once: Positive = Field(1, description="jobs that are worked on at the same time")
    max_jobs: Positive = Field(1000, description="jobs that are kept, those that have ended too")
    max_jobs_bytes: Annotated[int, Field(ge=2**20)] = Field(
        10 * 2**30, description="size of all recordings and results up to which jobs are taken"
    )
    jobs_kept_s: Seconds = Field(86400.0, description="time after which a job that has ended is deleted")
    callback_hosts: Listed[CallbackHost] = Field(
        (),
        description="hosts that a `callback_url` may name, such as `hooks.example.org` or `hooks.example.org:8443`; "
        "`https` only, unless `http://` stands before the host",
    )
    callback_secret: SecretStr | None = Field(
        None, description="key of the HMAC-SHA256 that callbacks are signed with; none: they are not signed"
    )

    # Traces
    otlp_endpoint: str | None = Field(
        None,
        description="base URL of an OpenTelemetry collector (OTLP over HTTP, for example `http://localhost:4318`) that "
        "gets a trace of each request; none: no traces",
    )

    # Failure log
    failure_log_dir: AbsolutePath | None = Field(
        None,
        description="directory for the records of failed requests; none: `amanuensis/failures` in the XDG state "
        "directory",
    )
    failure_log_max_records: Annotated[int, Field(ge=0)] = Field(
        1000, description="most records kept, the oldest are deleted first; 0: no failure log"
    )
    failure_log_max_bytes: Annotated[int, Field(ge=2**20)] = Field(
        2**30, description="largest size of all records and their audio"
    )
    failure_log_audio: bool = Field(
        False, description="keep the audio and the prompt of failed requests too, so that they can be replayed"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  (the signature is pydantic-settings')
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.max_windows_in_flight > self.slots:
            raise ValueError("max_windows_in_flight must not exceed slots")
        if self.max_request_timeout_s < self.request_timeout_s:
            raise ValueError("max_request_timeout_s must not be less than request_timeout_s")
        for stage in ("mel_replicas", "decoder_replicas"):
            if 0 < getattr(self, f"max_{stage}") < getattr(self, stage):
                raise ValueError(f"max_{stage} must not be less than {stage}; 0 means that none is ever added")
        if self.npu_scenario is not None and not self.npu_simulator:
            raise ValueError("npu_scenario is for the simulator: set npu_simulator too")
        return self

    @classmethod
    def resolve(cls, arguments: Mapping[str, Any] | None) -> Settings:
        """Return the settings from YAML ``arguments`` and the environment.

        Raises:
            ConfigurationError: an unknown name or a bad value; lists every problem.
        """
        misspelt = _misspelt_variables(os.environ)
        try:
            settings = cls(**{str(name): value for name, value in (arguments or {}).items()})
        except ValidationError as error:
            raise _invalid([*misspelt, *_problems(error)]) from None
        if misspelt:
            raise _invalid(misspelt)
        return settings if settings.enable_pipeline else settings.model_copy(update=SEQUENTIAL_SETTINGS)

    @property
    def hub_token(self) -> str | None:
        """The token for hub repositories that ask for one, in clear."""
        return self.hf_token.get_secret_value() if self.hf_token else None

    def changed(self, changes: object) -> Settings:
        """Return these settings with ``changes``.

        Raises:
            ConfigurationError: a change that needs a redeployment, or a bad value.
        """
        if not isinstance(changes, Mapping):
            raise ConfigurationError("Live settings must be a mapping of names to values, such as {max_queue_size: 64}")
        fixed = sorted(map(str, changes.keys() - LIVE))
        if fixed:
            raise ConfigurationError(
                f"Only {', '.join(sorted(LIVE))} can change in a running service, not {', '.join(fixed)}"
            )
        fields: dict[str, Any] = {name: (field.annotation, field) for name, field in type(self).model_fields.items()}
        live = create_model("LiveSettings", **{name: fields[name] for name in LIVE})
        try:
            values = live(**changes).model_dump(exclude_unset=True)
        except ValidationError as error:
            raise _invalid(_problems(error)) from None
        return self.model_copy(update=values)


def _misspelt_variables(environment: Mapping[str, str]) -> list[str]:
    """Name the variables that have the prefix, in whatever case, and that nobody reads."""
    fields = [field.upper() for field in Settings.model_fields]
    known = NO_SETTINGS | {ENV_PREFIX + field for field in fields}
    names = {name for name in environment if name.upper().startswith(ENV_PREFIX) and name.upper() not in known}
    if KUBERNETES in environment:
        names = {name for name in names if not KUBERNETES_VARIABLE.fullmatch(name)}
    return [unknown(name, "a setting", fields, ENV_PREFIX) for name in sorted(names)]


def _invalid(problems: Iterable[str]) -> ConfigurationError:
    return ConfigurationError(f"Invalid settings: {'; '.join(problems)}")


def _problems(error: ValidationError) -> list[str]:
    return [_problem(item) for item in error.errors() if item["type"] != DEFAULT_NOT_MADE]


def _problem(item: ErrorDetails) -> str:
    setting = ".".join(map(str, item["loc"]))
    if item["type"] == "extra_forbidden":
        return unknown(setting, "a setting", Settings.model_fields)
    message = item["msg"].removeprefix("Value error, ")
    return f"{setting}: {message}" if setting else message
