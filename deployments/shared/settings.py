"""Every setting of the service: one frozen, validated object, resolved here and nowhere else.

Sources, strongest first: environment variables, the ``args`` of the application in ``serve_config.yaml``, the
defaults below. Every field is read from ``AMANUENSIS_<FIELD>``; the prototype's variables (``WHISPER_MODEL``,
``NUM_LOAD_WORKERS`` and so on) stay valid as aliases. Environment variables are those of the process that started
Ray.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, create_model, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from deployments.shared.errors import ConfigurationError

ENV_PREFIX = "AMANUENSIS_"
SEQUENTIAL_SLOTS = 1

LIVE = frozenset(
    {
        "max_queue_size",
        "max_upload_bytes",
        "request_timeout_s",
        "timeout_per_audio_s",
        "max_request_timeout_s",
        "mel_budget_s",
        "encoder_budget_s",
        "decoder_budget_s",
    }
)
"""What a running service can change: ``user_config`` of the deployment ``Ingress``."""

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


def _absolute(path: Path) -> Path:
    """As seen from where the service is started; replicas may run elsewhere."""
    return path.expanduser().absolute()


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


def _setting(default: Any, field: str, environment: str, description: str, **bounds: Any) -> Any:
    """A field that the prototype knew under another environment variable."""
    names = AliasChoices(field, environment, ENV_PREFIX + field.upper())
    return Field(default, validation_alias=names, description=description, **bounds)


class Settings(BaseSettings):
    """The service's configuration. Times in seconds, sizes in bytes unless the name says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="forbid", populate_by_name=True, protected_namespaces=()
    )

    # Model
    whisper_model: str = _setting(
        "base",
        "whisper_model",
        "WHISPER_MODEL",
        "a size name such as `base`, a hub id, or the directory of a CTranslate2 Whisper model",
    )
    model_aliases: tuple[str, ...] = Field(("whisper-1",), description="further names clients may ask for")
    hf_token: SecretStr | None = _setting(None, "hf_token", "HF_TOKEN", "token for gated hub repositories")
    audio_context: Literal["auto", "full", "trimmed"] = Field(
        "auto",
        description="`full` encodes 30 s for every window, `trimmed` only the speech; `auto`: as the model was trained",
    )
    align_model: str | None = Field(
        None,
        description="directory or hub id of a wav2vec2 model: WhisperX word alignment instead of cross-attention",
    )
    align_language: str = Field("en", description="ISO code of the language that `align_model` knows")

    # Devices and stages
    device: Literal["cpu", "npu"] = _setting("cpu", "device", "DEVICE", "device of the encoder")
    encoder_backend: Literal["openvino", "ctranslate2"] = Field(
        "openvino", description="library that runs the encoder on the CPU"
    )
    encoder_precision: str = Field(
        "auto",
        description="`openvino`: `auto` (bf16 where the CPU has it), `bf16`, `f32`; `ctranslate2`: a compute type",
    )
    encoder_threads: Positive = Field(1, description="CPU threads of the encoder")
    npu_kernels: Path | None = Field(None, description="directory of the NPU's compiled kernels")
    npu_precision: Literal["auto", "bf16", "int8", "int8-bf16-fc2"] = Field(
        "auto", description="of the linear layers on the NPU; `auto`: bf16"
    )
    npu_contexts: Annotated[int, Field(ge=1, le=16)] = Field(1, description="hardware contexts for each xclbin")
    npu_simulator: bool = Field(False, description="simulate the NPU; for tests, its speed is a model's")
    npu_scenario: Path | None = Field(None, description="what the simulated NPU is, and what goes wrong with it")
    on_device_failure: Literal["fail", "cpu"] = Field(
        "fail", description="when the NPU has failed for good: refuse requests, or encode on the CPU"
    )
    encoder_replicas: Positive = Field(
        1, description="encoders, each pinned to one Ray resource `npu`: as many as there are devices"
    )
    encoder_batch_size: Positive = Field(
        8, description="windows an NPU works on at a time; a CPU works on one per thread"
    )
    compute_type: Literal["auto", "default", "int8", "int8_float32", "int8_bfloat16", "bfloat16", "float32"] = _setting(
        "int8",
        "compute_type",
        "COMPUTE_TYPE",
        "CTranslate2 arithmetic of the decoder",
    )
    mel_replicas: Positive = _setting(1, "mel_replicas", "NUM_LOAD_WORKERS", "MelPreprocessor replicas")
    max_mel_replicas: Positive | None = Field(
        None, description="add MelPreprocessor replicas under load, up to this many; none: always `mel_replicas`"
    )
    mel_threads: Positive = Field(
        2,
        description="audio files one MelPreprocessor replica works on at a time; one of two or more is for short ones",
    )
    decoder_replicas: Positive = _setting(1, "decoder_replicas", "NUM_DECODER_WORKERS", "Decoder replicas")
    max_decoder_replicas: Positive | None = Field(
        None, description="add Decoder replicas under load, up to this many; none: always `decoder_replicas`"
    )
    decoder_threads: Positive = Field(1, description="CPU threads of one Decoder replica")
    decoder_batch_size: Positive = _setting(
        8, "decoder_batch_size", "BATCH_SIZE", "windows a decoder batch holds at most"
    )
    beam_size: Annotated[int, Field(ge=1, le=10)] = Field(1, description="beams while temperature is 0; 1 is greedy")
    fallback_temperatures: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (),
        description="temperatures sampled in turn where the deterministic searches (beam, no repetition) leave a text"
        " that repeats itself or is improbable; each loads the model once more for a moment, so that the same audio"
        " gives the same text; empty: none",
    )

    # Flow
    enable_pipeline: bool = _setting(
        True, "enable_pipeline", "ENABLE_PIPELINE", "false: sequential mode, the same graph with one slot"
    )
    slots: Positive = Field(16, description="windows in flight; each needs room in the shared-memory slab")
    max_queue_size: Annotated[int, Field(ge=0)] = _setting(
        256,
        "max_queue_size",
        "MAX_QUEUE_SIZE",
        "requests that may wait for a slot; more are refused with 503",
    )
    priority_ageing_s: Seconds = Field(
        10.0, description="waiting time that lifts a request by one priority; up to 40 where the service is slow"
    )
    max_windows_in_flight: Positive = Field(4, description="slots one request may hold at a time")
    handoff: Literal["auto", "shared_memory", "object_store"] = Field(
        "auto", description="how arrays travel between stages; `auto`: shared memory when there is one node"
    )
    shared_memory_dir: Path = Field(Path("/dev/shm"), description="directory of the slab and of uploads")  # noqa: S108
    request_timeout_s: Seconds = Field(60.0, description="time for a request that names no timeout, at least")
    timeout_per_audio_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1.0, description="time for a request that names no timeout, per second of its audio, where that is more"
    )
    max_request_timeout_s: Seconds = Field(7200.0, description="longest `x-timeout-seconds` a client may send")
    mel_budget_s: Seconds = Field(
        10.0,
        description="a MelPreprocessor that has work and finishes nothing for so long hangs",
    )
    encoder_budget_s: Seconds = Field(
        5.0,
        description="an Encoder that has work and finishes nothing for so long hangs; longer if the model is slow",
    )
    decoder_budget_s: Seconds = Field(
        30.0,
        description="a Decoder that has work and finishes nothing for so long hangs; longer if the model is slow",
    )
    drain_timeout_s: Seconds = Field(60.0, description="a service that stops waits so long for what it has accepted")

    # Limits of what a client may send
    max_upload_bytes: Positive = Field(100 * 2**20, description="of a whole request body")
    upload_timeout_s: Seconds = Field(30.0, description="time for a whole request body to arrive")
    max_audio_s: Seconds = Field(3660.0, description="of decoded audio: an hour, and what encoders add to it")
    max_channels: Positive = Field(8, description="audio channels")

    # Clients
    api_keys_file: AbsolutePath | None = Field(
        None, description="file of API keys, made with `python -m deployments.commands.keys`; none: everybody may call"
    )
    requests_per_minute: Positive | None = Field(
        None, description="audio requests one client may send a minute, a sixth of them at once; none: unlimited"
    )
    max_concurrent_requests: Positive | None = Field(
        None, description="audio requests of one client that may run at a time; none: unlimited"
    )

    # Traces
    otlp_endpoint: str | None = _setting(
        None,
        "otlp_endpoint",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "base URL of an OpenTelemetry collector (OTLP over HTTP, for example `http://localhost:4318`) that gets a trace"
        " of each request; none: no traces",
    )

    # Failure log
    failure_log_dir: Path | None = Field(
        None,
        description="where requests that failed are recorded; none: `amanuensis/failures` in the XDG state directory",
    )
    failure_log_max_records: Annotated[int, Field(ge=0)] = Field(
        1000, description="records kept, the oldest deleted first; 0: no failure log"
    )
    failure_log_max_bytes: Annotated[int, Field(ge=2**20)] = Field(2**30, description="of all records and their audio")
    failure_log_audio: bool = Field(
        False, description="keep the audio and prompt of failed requests too, so that they can be replayed"
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
    def _consistent(self) -> Self:
        if self.max_windows_in_flight > self.slots:
            raise ValueError("max_windows_in_flight must not exceed slots")
        if self.max_request_timeout_s < self.request_timeout_s:
            raise ValueError("max_request_timeout_s must not be less than request_timeout_s")
        for stage in ("mel_replicas", "decoder_replicas"):
            most = getattr(self, f"max_{stage}")
            if most is not None and most < getattr(self, stage):
                raise ValueError(f"max_{stage} must not be less than {stage}")
        if self.npu_scenario is not None and not self.npu_simulator:
            raise ValueError("npu_scenario is for the simulator: set npu_simulator too")
        return self

    @classmethod
    def resolve(cls, arguments: dict[str, Any]) -> Settings:
        """The settings from YAML ``arguments`` and the environment.

        Raises:
            ConfigurationError: an unknown name or a bad value, with every problem listed.
        """
        try:
            settings = cls(**arguments)
        except ValidationError as error:
            raise ConfigurationError(_readable(error)) from None
        return settings if settings.enable_pipeline else settings._sequential()

    def changed(self, changes: dict[str, Any]) -> Settings:
        """These settings with ``changes``.

        Raises:
            ConfigurationError: a change that needs a redeployment, or a bad value.
        """
        fixed = changes.keys() - LIVE
        if fixed:
            raise ConfigurationError(f"{', '.join(sorted(fixed))}: only {', '.join(sorted(LIVE))} can change live")
        fields: dict[str, Any] = {name: (field.annotation, field) for name, field in type(self).model_fields.items()}
        live = create_model("LiveSettings", **{name: fields[name] for name in LIVE})
        try:
            values = live(**changes).model_dump(exclude_unset=True)
        except ValidationError as error:
            raise ConfigurationError(_readable(error)) from None
        return self.model_copy(update=values)

    def _sequential(self) -> Settings:
        """One window at a time through one replica of each stage: the baseline pipelining is measured against."""
        return self.model_copy(
            update={
                "slots": SEQUENTIAL_SLOTS,
                "max_windows_in_flight": SEQUENTIAL_SLOTS,
                "mel_replicas": 1,
                "max_mel_replicas": None,
                "encoder_replicas": 1,
                "decoder_replicas": 1,
                "max_decoder_replicas": None,
                "encoder_batch_size": 1,
                "decoder_batch_size": 1,
            }
        )

    @classmethod
    def table(cls) -> str:
        """The Markdown table of all settings that the README shows."""
        rows = ["| setting | environment | default | meaning |", "| --- | --- | --- | --- |"]
        rows += [
            f"| `{name}` | `{_environment_name(name, field)}` | `{_shown(field.default)}` | {field.description} |"
            for name, field in cls.model_fields.items()
        ]
        return "\n".join(rows)


def _environment_name(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    return str(alias.choices[1]) if isinstance(alias, AliasChoices) else ENV_PREFIX + name.upper()


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _readable(error: ValidationError) -> str:
    problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
    return "invalid settings: " + "; ".join(problems)
