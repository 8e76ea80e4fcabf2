"""Ingress: the deployment in front of the graph. Serves HTTP, owns admission, drives mel -> encoder -> decoder."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from deployments.ingress.http.routes import create_app
from deployments.ingress.scheduling.handles import ServeStages
from deployments.ingress.service import TranscriptionService
from deployments.shared.errors import ConfigurationError
from deployments.shared.model.description import Model
from deployments.shared.settings import Settings

INGRESS_MAX_ONGOING = 10_000  # admission refuses long before: the proxy must never queue
STAGE_HEADROOM = 16  # health probes and calls of requests that were given up, beside those of the slots

logger = logging.getLogger("ray.serve")


@serve.deployment
@serve.ingress()
class Ingress:
    """One replica: admission is one queue."""

    def __init__(
        self,
        settings: Settings,
        model: Model,
        mel: DeploymentHandle,
        encoders: Sequence[DeploymentHandle],
        decoder: DeploymentHandle,
        diarizer: DeploymentHandle | None,
    ) -> None:
        shared_memory = settings.handoff == "shared_memory"
        stages = ServeStages(mel, encoders, decoder, diarizer, by_reference=not shared_memory)
        self._service = TranscriptionService(settings, model, stages, shared_memory=shared_memory)
        if model.notice:
            logger.warning("%s", model.notice)

    def reconfigure(self, user_config: object) -> None:
        """Change live settings; a mistake is logged and changes nothing, so that it stops no running service."""
        try:
            self._service.change(user_config)
        except ConfigurationError as error:
            logger.error("user_config of Ingress: %s", error)  # noqa: TRY400  (a mistake of the operator, not a fault)

    async def drain(self) -> bool:
        """Take nothing new; return whether all that was accepted was answered in time."""
        return await self._service.drain()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return create_app(self._service)
