"""Health, for load balancers and operators."""

from __future__ import annotations

from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from deployments.ingress.http import operator_answers
from deployments.ingress.http.state import service_of
from deployments.ingress.scheduling.breaker import CircuitBreaker
from deployments.ingress.service import TranscriptionService

OK, UNAVAILABLE = 200, 503
SILENT = "the encoder does not answer"

Status = Literal["healthy", "degraded", "unhealthy"]
BREAKER_STATUS: dict[str, Status] = {"closed": "healthy", "half_open": "degraded", "open": "unhealthy"}


async def live(_: Request) -> Response:
    """Say that the process answers."""
    return operator_answers.LIVENESS.response({"status": "live"})


async def ready(request: Request) -> Response:
    """Say whether requests will be served: the encoder answers, its device works, no stage hangs or is left alone."""
    readiness = _readiness(service_of(request))
    return operator_answers.READINESS.response(readiness, OK if readiness["status"] == "ready" else UNAVAILABLE)


def _readiness(service: TranscriptionService) -> operator_answers.Readiness:
    if service.admission.closed:
        return {"status": "draining"}
    encoder = service.encoder.health
    if encoder is None:
        return {"status": "unavailable", "reason": SILENT}
    if not service.encoder.works:
        return {"status": "failed", "reason": encoder.reason, "device": encoder.device}
    reason = service.unavailable_stage
    if reason is not None:
        return {"status": "unavailable", "reason": reason, "device": encoder.device}
    return {"status": "ready", "device": encoder.device}


async def health(request: Request) -> Response:
    """Say what a person wants to know at a glance."""
    service = service_of(request)
    encoder = service.encoder.health
    document: operator_answers.Health = {
        "status": _status(service),
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
    return operator_answers.HEALTH.response(document, _http_status(document["status"]))


async def health_pipeline(request: Request) -> Response:
    """Say how each stage is: the prototype's view."""
    service = service_of(request)
    status = _status(service)
    mel, encoder, decoder = map(_stage, service.breakers, service.replicas)
    found = service.encoder.health
    document: operator_answers.PipelineHealth = {
        "status": "disabled" if status == "healthy" and not service.settings.enable_pipeline else status,
        "stages": {
            "stage1_load_mel": mel,
            "stage2_encoder": {
                **encoder,
                "status": found.status if found is not None and service.encoder.works else "unhealthy",
                "device": service.encoder.device,
                "reason": SILENT if found is None else found.reason,
            },
            "stage3_decoder_align": decoder,
        },
    }
    return operator_answers.PIPELINE_HEALTH.response(document, _http_status(status))


def _stage(breaker: CircuitBreaker, replicas: int) -> operator_answers.StageHealth:
    return {"status": BREAKER_STATUS[breaker.state], "workers": replicas, "breaker": breaker.state}


def _status(service: TranscriptionService) -> Status:
    encoder = service.encoder.health
    if encoder is None or not service.encoder.works:
        return "unhealthy"
    closed = all(breaker.state == "closed" for breaker in service.breakers)
    return "healthy" if encoder.status == "healthy" and closed else "degraded"


def _http_status(status: Status) -> int:
    return UNAVAILABLE if status == "unhealthy" else OK
