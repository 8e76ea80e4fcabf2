"""Health and statistics, for load balancers and operators."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.http.context import service_of
from deployments.service import TranscriptionService

Json = dict[str, Any]
UNAVAILABLE = 503


async def live(_: Request) -> Response:
    """The process answers."""
    return JSONResponse({"status": "live"})


async def ready(request: Request) -> Response:
    """The encoder answers too: requests will be served."""
    device = service_of(request).encoder_device
    if device is None:
        return JSONResponse({"status": "starting", "reason": "the encoder does not answer"}, UNAVAILABLE)
    return JSONResponse({"status": "ready", "device": device})


async def health(request: Request) -> Response:
    """Everything a person wants to know at a glance."""
    service = service_of(request)
    device = service.encoder_device
    document = {
        "status": "unhealthy" if device is None else "healthy",
        "model": service.model.name,
        "languages": list(service.model.languages),
        "audio_context": service.model.audio_context,
        "device": device,
        "handoff": "shared_memory" if service.shared_memory else "object_store",
        "mode": "pipelined" if service.settings.enable_pipeline else "sequential",
        "notice": service.model.notice,
    }
    return JSONResponse(document, UNAVAILABLE if device is None else 200)


async def health_pipeline(request: Request) -> Response:
    """The prototype's view: one status, then each stage."""
    service = service_of(request)
    device = service.encoder_device
    status = _pipeline_status(service, device)
    stages = {
        "stage1_load_mel": {"status": "healthy", "workers": service.settings.mel_replicas},
        "stage2_encoder": {
            "status": "unhealthy" if device is None else "healthy",
            "workers": 1,
            "device": device,
        },
        "stage3_decoder_align": {"status": "healthy", "workers": service.settings.decoder_replicas},
    }
    return JSONResponse({"status": status, "stages": stages}, UNAVAILABLE if status == "unhealthy" else 200)


def _pipeline_status(service: TranscriptionService, device: str | None) -> str:
    if device is None:
        return "unhealthy"
    return "healthy" if service.settings.enable_pipeline else "disabled"


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


def _stages(service: TranscriptionService) -> Json:
    statistics, settings = service.statistics, service.settings
    replicas = ((statistics.mel, settings.mel_replicas), (statistics.encoder, 1))
    stages = (*replicas, (statistics.decoder, settings.decoder_replicas))
    return {stage.name: stage.as_json(count) for stage, count in stages}


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
            "device": service.encoder_device,
        },
        "pipeline": {
            "running": service.settings.enable_pipeline,
            "pending_responses": statistics.pending_responses,
        },
    }
