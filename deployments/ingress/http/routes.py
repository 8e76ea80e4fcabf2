"""The HTTP application: every route in one table, by who may call it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from deployments.ingress.clients.key_file import KeyFile
from deployments.ingress.clients.limits import ClientLimits
from deployments.ingress.http import (
    docs_page,
    documentation,
    failures,
    health,
    jobs,
    metrics,
    models,
    realtime,
    statistics,
    transcriptions,
)
from deployments.ingress.http.access import Authentication, RateLimiting
from deployments.ingress.http.context import RequestContext
from deployments.ingress.http.errors import EXCEPTION_HANDLERS
from deployments.ingress.http.job_runs import running_jobs
from deployments.ingress.http.page import serving as page
from deployments.ingress.http.web_pages import ForeignPageGuard, with_cors
from deployments.ingress.service import TranscriptionService

LIMITED = [Middleware(RateLimiting)]

PUBLIC = [
    Route("/health/live", health.live),
    Route("/health/ready", health.ready),
    Route("/openapi.json", documentation.openapi_json),
    Route("/docs", docs_page.docs),
    Route("/", page.index),
    Route("/page/{file}", page.page_file),
]
OPERATOR = [
    Route("/health/pipeline", health.health_pipeline),
    Route("/stats", statistics.stats),
    Route("/stats/pipeline", statistics.stats_pipeline),
    Route("/stats/stages", statistics.stats_stages),
    Route("/metrics", metrics.metrics),
    Route("/failures", failures.list_failures),
    Route("/failures/{failure}", failures.one_failure, methods=["GET", "DELETE"]),
    Route("/failures/{failure}/audio", failures.retrieve_audio),
]
CLIENT = [
    Route("/v1/audio/transcriptions", transcriptions.transcriptions, methods=["POST"], middleware=LIMITED),
    Route("/v1/audio/translations", transcriptions.translations, methods=["POST"], middleware=LIMITED),
    Route("/v1/jobs", jobs.list_jobs),
    Route("/v1/jobs/{job}", jobs.one_job, methods=["GET", "DELETE"]),
    Route("/v1/jobs/{job}/result", jobs.job_result),
    Route("/inference", transcriptions.inference, methods=["POST"], middleware=LIMITED),
    Route("/asr", transcriptions.asr, methods=["POST"], middleware=LIMITED),
    Route("/detect-language", transcriptions.detect_language, methods=["POST"], middleware=LIMITED),
    Route("/v1/models", models.list_models),
    Route("/v1/models/{model:path}", models.retrieve_model),
    Route("/health", health.health),
]
ROUTES = [*CLIENT, *OPERATOR, *PUBLIC]
SOCKETS = [
    Route("/v1/realtime", realtime.upgrade_required),
    WebSocketRoute("/v1/realtime", realtime.realtime, middleware=LIMITED),
    WebSocketRoute("/{path:path}", realtime.unknown_socket),
]


def create_app(service: TranscriptionService) -> ASGIApp:
    """Return the ASGI application that serves ``service``, and watches over it from start to shutdown.

    Raises:
        ConfigurationError: the file of API keys is not as it must be.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with suppress(FileNotFoundError):  # where no directory can be written to: large uploads meet that error again
            tempfile.gettempdir()  # looks for it once, by writing a file: not when it is full already
        async with service.running(), running_jobs(service):
            yield

    settings = service.settings
    keys = KeyFile(settings.api_keys_file) if settings.api_keys_file is not None else None
    app = Starlette(
        routes=[*ROUTES, *SOCKETS],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan,
        middleware=[
            *([Middleware(ForeignPageGuard, settings.allowed_hosts, settings.cors_origins)] if keys is None else []),
            Middleware(Authentication, keys=keys, public=PUBLIC, operator=OPERATOR),
        ],
    )
    app.router.redirect_slashes = False  # a redirect would repeat whatever the client named as host
    app.state.service = service
    app.state.metrics = metrics.Metrics(service)
    app.state.limits = ClientLimits(settings.requests_per_minute, settings.max_concurrent_requests)
    # Outermost, so that even the last-resort error page has an id, and a page's script can read it.
    whole = RequestContext(app, service)
    return with_cors(whole, settings.cors_origins) if settings.cors_origins else whole
