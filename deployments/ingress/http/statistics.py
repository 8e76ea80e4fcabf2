"""``/stats``: the statistics as JSON. The shapes of its parts are the prototype's, kept for its users."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from deployments.ingress.http import operator_answers
from deployments.ingress.http.state import service_of
from deployments.ingress.scheduling.admission import Admission
from deployments.ingress.scheduling.breaker import CircuitBreaker
from deployments.ingress.service import TranscriptionService
from deployments.ingress.telemetry.statistics import QueueStatistics, StageStatistics


async def stats(request: Request) -> Response:
    """Answer with requests as clients see them, the failure log, and the two documents below in one."""
    service = service_of(request)
    stages = _stages(service)
    return operator_answers.STATISTICS.response(
        {
            "started_at": service.statistics.started_at,
            "requests": _requests(service),
            "failure_log": service.failures.as_json(),
            "pipeline": _pipeline(service, stages),
            "stages": stages,
        }
    )


async def stats_pipeline(request: Request) -> Response:
    """Answer with queue, stages, slots and encoder."""
    service = service_of(request)
    return operator_answers.PIPELINE_STATISTICS.response(_pipeline(service, _stages(service)))


async def stats_stages(request: Request) -> Response:
    """Answer with the three stages."""
    return operator_answers.STAGES_STATISTICS.response(_stages(service_of(request)))


def _requests(service: TranscriptionService) -> operator_answers.RequestFigures:
    statistics = service.statistics
    requests, recent = statistics.requests, statistics.recent_requests
    return {
        "answered": requests.count,
        "failed": statistics.failures,
        "audio_seconds": statistics.audio_s,
        "avg_time": requests.mean,
        "p50_time": recent.percentile(50),
        "p99_time": recent.percentile(99),
    }


def _pipeline(
    service: TranscriptionService, stages: operator_answers.StagesStatistics
) -> operator_answers.PipelineStatistics:
    statistics, encoder = service.statistics, stages["stage2_encoder"]
    return {
        "queue": _queue(statistics.queue, service.admission),
        "stage1": stages["stage1_load_mel"],
        "stage2": encoder,
        "stage3": stages["stage3_decoder_align"],
        "buffers": _slots(statistics.queue, service.admission),
        "encoder": {
            "busy_fraction": encoder["busy_fraction"],
            "batch_size_avg": encoder["batch_size_avg"],
            "device": service.encoder.device,
        },
        "pipeline": {
            "started_at": statistics.started_at,
            "running": service.settings.enable_pipeline,
            "pending_responses": statistics.pending_responses,
        },
    }


def _stages(service: TranscriptionService) -> operator_answers.StagesStatistics:
    mel, encoder, decoder = map(_stage, service.statistics.stages, service.replicas, service.breakers)
    return {"stage1_load_mel": mel, "stage2_encoder": encoder, "stage3_decoder_align": decoder}


def _queue(queue: QueueStatistics, admission: Admission) -> operator_answers.QueueFigures:
    waits, recent = queue.waits, queue.recent_waits
    return {
        "total_enqueued": queue.entered,
        "total_dequeued": waits.count,
        "total_dropped": queue.drops.total(),
        "total_timeouts": queue.timeouts,
        "current_size": admission.waiting,
        "avg_wait_time": waits.mean,
        "min_wait_time": recent.min_s,
        "max_wait_time": recent.max_s,
        "p99_wait_time": recent.percentile(99),
        "utilization": admission.waiting / admission.max_queue_size if admission.max_queue_size else 0.0,
        "drop_rate": queue.drop_ratio,
    }


def _slots(queue: QueueStatistics, admission: Admission) -> operator_answers.SlotFigures:
    return {
        "slots": admission.slots,
        "in_use": admission.in_use,
        "total_granted": queue.grants,
        "waits": queue.waited,
        "hit_rate": queue.hit_ratio,
    }


def _stage(stage: StageStatistics, replicas: int, breaker: CircuitBreaker) -> operator_answers.StageFigures:
    calls, recent = stage.calls, stage.recent_calls
    return {
        "total_processed": calls.count,
        "total_errors": stage.errors,
        "total_timeouts": stage.timeouts,
        "total_retries": stage.retries,
        "avg_time": calls.mean,
        "min_time": recent.min_s,
        "max_time": recent.max_s,
        "p50_time": recent.percentile(50),
        "p99_time": recent.percentile(99),
        "avg_run_time": stage.runs.mean,
        "avg_queue_time": stage.queues.mean,
        "busy_time": stage.busy_s,
        "busy_fraction": stage.busy_fraction,
        "batch_size_avg": stage.mean_batch_size,
        "input_queue_size": stage.active,
        "workers_active": replicas,
        "success_rate": stage.success_ratio,
        "breaker": breaker.state,
    }
