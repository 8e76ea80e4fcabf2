"""Builds the graph that ``serve run serve_config.yaml`` deploys."""

from __future__ import annotations

from typing import Any

from ray.serve import Application

from deployments.decoder.deployment import Decoder
from deployments.encoder.deployment import Encoder
from deployments.ingress.clients.key_file import read_keys
from deployments.ingress.deployment import INGRESS_MAX_ONGOING, STAGE_HEADROOM, Ingress
from deployments.mel.deployment import MelPreprocessor
from deployments.placement import Placement, replicas
from deployments.shared.model.description import load_model
from deployments.shared.settings import Settings

SELF_HEALING = {"health_check_period_s": 1.0, "health_check_timeout_s": 10.0}
"""A dead replica is replaced after 2 to 3 s plus its start, instead of 10 to 15 s; one whose check fails, because it
hangs, after three checks; one whose process stands still and answers none, after half a minute instead of 90 s."""


def build(arguments: dict[str, Any]) -> Application:
    """The application from the ``args`` of ``serve_config.yaml``; the environment overrides them.

    Raises:
        ConfigurationError: bad settings, a bad key file, no model, or no node with the encoder's resource.
    """
    asked = Settings.resolve(arguments)
    if asked.api_keys_file is not None:
        read_keys(asked.api_keys_file)  # the ingress reads it too, but Serve would retry it before it says why
    placement = Placement.here(asked)
    settings = placement.settings
    model = load_model(settings)
    stage = stage_options(settings)
    mel = MelPreprocessor.options(
        **replicas(
            settings.mel_replicas,
            settings.max_mel_replicas,
            at_once=settings.mel_threads,
            drain_s=settings.drain_timeout_s,
        ),
        ray_actor_options=placement.cpu_stage,
        **stage,
    ).bind(settings, model)
    encoders = [
        Encoder.options(
            name=name,
            num_replicas=1,
            ray_actor_options=placement.encoder,
            **stage,
        ).bind(settings, model)
        for name in _encoder_names(settings.encoder_replicas)
    ]
    decoder = Decoder.options(
        **replicas(
            settings.decoder_replicas,
            settings.max_decoder_replicas,
            at_once=settings.decoder_batch_size,
            drain_s=settings.drain_timeout_s,
        ),
        ray_actor_options=placement.cpu_stage,
        **stage,
    ).bind(settings, model)
    application: Application = Ingress.options(**ingress_options(placement)).bind(
        settings, model, mel, encoders, decoder
    )
    return application


def stage_options(settings: Settings) -> dict[str, Any]:
    """What the deployments of all stages have in common."""
    return {
        **SELF_HEALING,
        "max_ongoing_requests": settings.slots + STAGE_HEADROOM,
        # One line a request is enough: the ingress writes it. At INFO, Serve would format one a call in every stage.
        "logging_config": {"enable_access_log": False, "log_level": "WARNING"},
    }


def ingress_options(placement: Placement) -> dict[str, Any]:
    """Of the ingress' deployment."""
    return {
        **SELF_HEALING,
        "num_replicas": 1,
        "max_ongoing_requests": INGRESS_MAX_ONGOING,
        "ray_actor_options": placement.ingress,
        "graceful_shutdown_timeout_s": placement.settings.drain_timeout_s,
        "logging_config": {"enable_access_log": False},  # the request log says more, and does not swell under overload
    }


def _encoder_names(count: int) -> list[str]:
    """A deployment each, so that the ingress knows how busy and how well every device is."""
    return ["Encoder", *(f"Encoder{number}" for number in range(2, count + 1))]
