"""The HTTP application: every route in one table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from deployments.http import documentation, failures, models, operations, transcriptions
from deployments.http.context import EXCEPTION_HANDLERS, RequestContext
from deployments.service import TranscriptionService

ROUTES = [
    Route("/v1/audio/transcriptions", transcriptions.transcriptions, methods=["POST"]),
    Route("/v1/audio/translations", transcriptions.translations, methods=["POST"]),
    Route("/v1/models", models.list_models),
    Route("/v1/models/{model:path}", models.retrieve_model),
    Route("/health", operations.health),
    Route("/health/live", operations.live),
    Route("/health/ready", operations.ready),
    Route("/health/pipeline", operations.health_pipeline),
    Route("/stats", operations.stats),
    Route("/stats/pipeline", operations.stats_pipeline),
    Route("/stats/stages", operations.stats_stages),
    Route("/failures", failures.list_failures),
    Route("/failures/{failure}", failures.retrieve_failure),
    Route("/failures/{failure}", failures.delete_failure, methods=["DELETE"]),
    Route("/failures/{failure}/audio", failures.retrieve_audio),
    Route("/openapi.json", documentation.openapi_json),
    Route("/docs", documentation.docs),
]


def create_app(service: TranscriptionService) -> ASGIApp:
    """The ASGI application that serves ``service``, and watches over it from start to shutdown."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = Starlette(routes=ROUTES, exception_handlers=EXCEPTION_HANDLERS, lifespan=lifespan)
    app.state.service = service
    # Outermost, so that even the last-resort error page has an id.
    return RequestContext(app, service)
