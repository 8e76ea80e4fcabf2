"""Health and statistics, for load balancers and operators."""

from __future__ import annotations

from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.ingress.http.metrics import Metrics
from deployments.ingress.http.state import service_of
from deployments.ingress.service import TranscriptionService

Json = dict[str, Any]
UNAVAILABLE = 503
SILENT = "the encoder does not answer"
BREAKER_STATUS = {"closed": "healthy", "half_open": "degraded", "open": "unhealthy"}


async def live(_: Request) -> Response:
    """The process answers."""
    return JSONResponse({"status": "live"})


async def ready(request: Request) -> Response:
    """The encoder answers too, its device works, and no stage hangs or is left alone: requests will be served."""
    service = service_of(request)
    if service.admission.closed:
        return JSONResponse({"status": "draining"}, UNAVAILABLE)
    encoder = service.encoder.health
    if encoder is None:
        return JSONResponse({"status": "unavailable", "reason": SILENT}, UNAVAILABLE)
    if not service.encoder.works:
        return JSONResponse({"status": "failed", "reason": encoder.reason, "device": encoder.device}, UNAVAILABLE)
    reason = service.unavailable_stage
    if reason is not None:
        return JSONResponse({"status": "unavailable", "reason": reason, "device": encoder.device}, UNAVAILABLE)
    return JSONResponse({"status": "ready", "device": encoder.device})


async def health(request: Request) -> Response:
    """Everything a person wants to know at a glance."""
    service = service_of(request)
    encoder = service.encoder.health
    status = _status(service)
    document = {
        "status": status,
        "reason": SILENT if encoder is None else encoder.reason,
        "model": service.model.name,
        "languages": list(service.model.languages),
        "audio_context": service.model.audio_context,
        "device": service.encoder.device,
        "device_recoveries": encoder.recoveries if encoder else 0,
        "handoff": "shared_memory" if service.shared_memory else "object_store",
        "mode": "pipelined" if service.settings.enable_pipeline else "sequential",
        "notice": service.model.notice,
    }
    return JSONResponse(document, UNAVAILABLE if status == "unhealthy" else 200)


async def health_pipeline(request: Request) -> Response:
    """The prototype's view: one status, then each stage."""
    service = service_of(request)
    status = _status(service)
    if status == "healthy" and not service.settings.enable_pipeline:
        status = "disabled"
    stages: dict[str, Json] = {
        stage.name: {"status": BREAKER_STATUS[breaker.state], "workers": count, "breaker": breaker.state}
        for stage, breaker, count in zip(service.statistics.stages, service.breakers, service.replicas, strict=True)
    }
    encoder = service.encoder.health
    stages[service.statistics.encoder.name] |= {
        "status": encoder.status if encoder is not None and service.encoder.works else "unhealthy",
        "device": service.encoder.device,
        "reason": SILENT if encoder is None else encoder.reason,
    }
    return JSONResponse({"status": status, "stages": stages}, UNAVAILABLE if status == "unhealthy" else 200)


def _status(service: TranscriptionService) -> str:
    encoder = service.encoder.health
    if encoder is None or not service.encoder.works:
        return "unhealthy"
    closed = all(breaker.state == "closed" for breaker in service.breakers)
    return "healthy" if encoder.status == "healthy" and closed else "degraded"


async def stats_pipeline(request: Request) -> Response:
    return JSONResponse(_pipeline(service_of(request)))


async def stats_stages(request: Request) -> Response:
    return JSONResponse(_stages(service_of(request)))


async def stats(request: Request) -> Response:
    """Requests as a client sees them, the failure log, and the two documents above in one."""
    service = service_of(request)
    requests = service.statistics.requests
    document = {
        "requests": {
            "answered": requests.count,
            "failed": service.statistics.failures,
            "audio_seconds": service.statistics.audio_s,
            "avg_time": requests.mean_s,
            "p50_time": requests.percentile(50),
            "p99_time": requests.percentile(99),
        },
        "failure_log": service.failures.as_json(),
        "pipeline": _pipeline(service),
        "stages": _stages(service),
    }
    return JSONResponse(document)


async def metrics(request: Request) -> Response:
    """The same and more, for Prometheus."""
    series: Metrics = request.app.state.metrics
    return Response(series.render(), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})


def _stages(service: TranscriptionService) -> Json:
    stages = zip(service.statistics.stages, service.replicas, service.breakers, strict=True)
    return {stage.name: stage.as_json(count) | {"breaker": breaker.state} for stage, count, breaker in stages}


def _pipeline(service: TranscriptionService) -> Json:
    statistics, admission = service.statistics, service.admission
    stage1, stage2, stage3 = _stages(service).values()
    return {
        "queue": statistics.queue.queue(admission.waiting, admission.max_queue_size),
        "stage1": stage1,
        "stage2": stage2,
        "stage3": stage3,
        "buffers": statistics.queue.buffers(admission.slots, admission.in_use),
        "encoder": {
            "busy_fraction": statistics.encoder.busy_fraction,
            "batch_size_avg": statistics.encoder.mean_batch_size,
            "device": service.encoder.device,
        },
        "pipeline": {
            "running": service.settings.enable_pipeline,
            "pending_responses": statistics.pending_responses,
        },
    }
