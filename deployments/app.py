"""The graph that ``serve run serve_config.yaml`` deploys: mel -> encoder -> decoder, driven by the ingress.

::

                        +-> MelPreprocessor            audio -> windows of speech -> log-mel
    client <-> Ingress -+-> Encoder, one per device    log-mel -> encoder states
                        +-> Decoder                    encoder states -> text
                        +-> Diarizer, when asked       audio -> who speaks when

The ingress has a handle of each stage, and takes every window through the three in this order
(``deployments.ingress.scheduling.pipeline``). The arrays do not pass through it: each stage leaves its output where the
next one finds it (``deployments.shared.memory``).
"""

from __future__ import annotations

from typing import Any

from ray.serve import Application

from deployments.decoder.deployment import Decoder
from deployments.diarizer.deployment import Diarizer
from deployments.encoder.deployment import Encoder
from deployments.ingress.clients.key_file import read_keys
from deployments.ingress.deployment import INGRESS_MAX_ONGOING, STAGE_HEADROOM, Ingress
from deployments.mel.deployment import MelPreprocessor
from deployments.placement import Placement, replicas, replicas_on_demand
from deployments.shared.model.description import Model, load_model
from deployments.shared.settings import Settings
from deployments.shared.speaker_models import NO_SPEAKERS

SELF_HEALING = {"health_check_period_s": 1.0, "health_check_timeout_s": 10.0}
"""How soon Serve replaces a replica: a dead one after 2 to 3 s plus its start, instead of 10 to 15 s; one that hangs,
after three failed checks; one whose process stands still and answers no check, after half a minute instead of 90 s."""


def build(arguments: dict[str, Any]) -> Application:
    """Return the application for the ``args`` of ``serve_config.yaml``; the environment overrides them.

    Raises:
        ConfigurationError: bad settings, a bad key file, no model, or no node with the encoder's resource.
    """
    settings = Settings.resolve(arguments)
    if settings.api_keys_file is not None:
        read_keys(settings.api_keys_file)  # the ingress reads it too, but Serve would retry it before it says why
    placement = Placement.here(settings)
    model = load_model(placement.settings)
    placement.fit_slots(model.dimensions)
    return ingress(
        placement,
        model,
        mel(placement, model),
        encoders(placement, model),
        decoder(placement, model),
        diarizer(placement),
    )


def mel(placement: Placement, model: Model) -> Application:
    """Bind the first stage: replicas without a device, which may grow in number."""
    settings = placement.settings
    scaling = replicas(
        settings.mel_replicas,
        settings.max_mel_replicas,
        at_once=settings.mel_threads,
        drain_s=settings.drain_timeout_s,
    )
    options = _cpu_stage_options(placement, scaling)
    application: Application = MelPreprocessor.options(**options).bind(settings, model)
    return application


def encoders(placement: Placement, model: Model) -> list[Application]:
    """Bind the second stage: one deployment per device, so that the ingress knows how busy and well each device is."""
    settings = placement.settings
    options = {**stage_options(settings), "num_replicas": 1, "ray_actor_options": placement.encoder}
    names = ("Encoder", *(f"Encoder{number}" for number in range(2, settings.encoder_replicas + 1)))
    return [Encoder.options(name=name, **options).bind(settings, model) for name in names]


def decoder(placement: Placement, model: Model) -> Application:
    """Bind the third stage: replicas without a device, which may grow in number."""
    application: Application = Decoder.options(**decoder_options(placement)).bind(placement.settings, model)
    return application


def diarizer(placement: Placement) -> Application | None:
    """Bind what tells speakers apart: replicas that start when somebody asks for speakers; None where it is off."""
    settings = placement.settings
    if settings.diarization_model == NO_SPEAKERS:
        return None
    scaling = replicas_on_demand(
        settings.max_diarizer_replicas, at_once=settings.diarizer_threads, drain_s=settings.drain_timeout_s
    )
    application: Application = Diarizer.options(**_cpu_stage_options(placement, scaling)).bind(settings)
    return application


def decoder_options(placement: Placement) -> dict[str, Any]:
    """Return the options of the third stage's deployment."""
    settings = placement.settings
    scaling = replicas(
        settings.decoder_replicas,
        settings.max_decoder_replicas,
        at_once=max(1, settings.decoder_batch_size // 2),
        drain_s=settings.drain_timeout_s,
    )
    return _cpu_stage_options(placement, scaling)


def ingress(
    placement: Placement,
    model: Model,
    mel: Application,
    encoders: list[Application],
    decoder: Application,
    diarizer: Application | None,
) -> Application:
    """Bind the HTTP side, which drives the stages."""
    settings = placement.settings
    application: Application = Ingress.options(**ingress_options(placement)).bind(
        settings, model, mel, encoders, decoder, diarizer
    )
    return application


def stage_options(settings: Settings) -> dict[str, Any]:
    """Return the options that the deployments of all stages have in common."""
    return {
        **SELF_HEALING,
        "max_ongoing_requests": settings.slots + STAGE_HEADROOM,
        # One line per request is enough: the ingress writes it. At INFO, Serve would format one per call in each stage.
        "logging_config": {"enable_access_log": False, "log_level": "WARNING"},
    }


def ingress_options(placement: Placement) -> dict[str, Any]:
    """Return the options of the ingress' deployment."""
    return {
        **SELF_HEALING,
        "num_replicas": 1,
        "max_ongoing_requests": INGRESS_MAX_ONGOING,
        "ray_actor_options": placement.ingress,
        "graceful_shutdown_timeout_s": placement.settings.drain_timeout_s,
        "logging_config": {"enable_access_log": False},  # the request log says more, and does not swell under overload
    }


def _cpu_stage_options(placement: Placement, scaling: dict[str, Any]) -> dict[str, Any]:
    return {**stage_options(placement.settings), **scaling, "ray_actor_options": placement.cpu_stage}
