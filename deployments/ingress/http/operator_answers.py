"""The JSON documents that operators read: the failure log, health, statistics. Times in seconds."""

from __future__ import annotations

from typing import Literal, NotRequired

from pydantic import AwareDatetime

from deployments.ingress.failures.record import Failure
from deployments.ingress.failures.recorder import FailureCounts
from deployments.ingress.http.answers import Document, JsonAnswer
from deployments.ingress.scheduling.breaker import State
from deployments.shared.model.description import AudioContext

# The failure log


class FailureList(Document):
    """One page of the failure log, newest first."""

    object: Literal["list"]
    data: list[Failure]
    has_more: bool
    """Whether older failures follow: ask with `before`."""


class FailureDeleted(Document):
    """What is left of a record that was deleted."""

    id: str
    deleted: Literal[True]


# Health


class Liveness(Document):
    """The process answers."""

    status: Literal["live"]


class Readiness(Document):
    """Whether requests will be served."""

    status: Literal["ready", "draining", "unavailable", "failed"]
    reason: NotRequired[str | None]
    """Why they will not."""
    device: NotRequired[str]
    """The device that runs the encoder."""


class Health(Document):
    """The service at a glance."""

    status: Literal["healthy", "degraded", "unhealthy"]
    reason: str | None
    """What the encoder complains about."""
    model: str
    """The model that is served."""
    languages: list[str]
    """ISO codes of the languages that the model transcribes."""
    audio_context: AudioContext
    """What the encoder sees of a window: `full` is always 30 s, `trimmed` only the speech."""
    device: str | None
    """The device that runs the encoder; null while it does not answer."""
    device_recoveries: int
    """Failures of the device after which it works again."""
    handoff: Literal["shared_memory", "object_store"]
    """How arrays travel between the stages."""
    mode: Literal["pipelined", "sequential"]
    notice: str | None
    """A warning about the model that every user should see."""


class StageHealth(Document):
    """One stage."""

    status: Literal["healthy", "degraded", "failed", "unhealthy"]
    workers: int
    """Replicas that answered when they were last asked."""
    breaker: State
    """`open` while the stage is left alone because it failed again and again; `half_open` when it is tried again."""


class EncoderStageHealth(StageHealth):
    """The encoder, with what it says of itself."""

    device: str | None
    """The device that runs it; null while it does not answer."""
    reason: str | None
    """What it complains about."""


class StagesHealth(Document):
    """The three stages, in the order that a request passes them."""

    stage1_load_mel: StageHealth
    stage2_encoder: EncoderStageHealth
    stage3_decoder_align: StageHealth


class PipelineHealth(Document):
    """The service, stage by stage."""

    status: Literal["healthy", "degraded", "unhealthy", "disabled"]
    """`disabled` where the service is well and works on one window at a time (`enable_pipeline=false`)."""
    stages: StagesHealth


# Statistics, counted since the start of the ingress; percentiles are those of the latest values.


class QueueFigures(Document):
    """The admission queue."""

    total_enqueued: int
    """Requests that were given a place in the queue."""
    total_dequeued: int
    """Requests that got their first slot."""
    total_dropped: int
    """Requests that were refused, or displaced by one of higher priority."""
    total_timeouts: int
    """Windows that waited for a slot for as long as the deadline allowed."""
    current_size: int
    """Requests that have no slot yet."""
    avg_wait_time: float
    """Wait for the first slot, of the requests that got one."""
    min_wait_time: float
    max_wait_time: float
    p99_wait_time: float
    utilization: float
    """Size of the queue over its limit."""
    drop_rate: float
    """Requests dropped over all offered."""


class SlotFigures(Document):
    """The slots, each room for one window in flight."""

    slots: int
    in_use: int
    total_granted: int
    """Slots granted, one per window."""
    waits: int
    """Requests that did not get their first slot at once."""
    hit_rate: float
    """Requests that got their first slot at once over all that got one."""


class StageFigures(Document):
    """One stage, as the ingress sees it: the calls of all its replicas."""

    total_processed: int
    """Calls that gave a result."""
    total_errors: int
    """Calls that failed."""
    total_timeouts: int
    """Calls that took longer than their budget or deadline."""
    total_retries: int
    """Calls made again."""
    avg_time: float
    """Time that the ingress waited for a result, handoff included."""
    min_time: float
    max_time: float
    p50_time: float
    p99_time: float
    avg_run_time: float
    """The work itself; in a batch, the whole batch."""
    avg_queue_time: float
    """Wait inside the replica."""
    busy_time: float
    """Time in which the stage computed, summed over its replicas."""
    busy_fraction: float
    """`busy_time` over the time since the start; above 1 with several replicas."""
    batch_size_avg: float
    """Windows per batch."""
    input_queue_size: int
    """Calls under way."""
    workers_active: int
    """Replicas that answered when they were last asked."""
    success_rate: float
    """Calls that gave a result over all that ended."""
    breaker: State
    """`open` while the stage is left alone because it failed again and again."""


class StagesStatistics(Document):
    """The three stages, in the order that a request passes them."""

    stage1_load_mel: StageFigures
    stage2_encoder: StageFigures
    stage3_decoder_align: StageFigures


class EncoderFigures(Document):
    """The encoder at a glance."""

    busy_fraction: float
    """As in `stage2`."""
    batch_size_avg: float
    """As in `stage2`."""
    device: str | None
    """The device that runs it; null while it does not answer."""


class PipelineState(Document):
    """What goes on."""

    started_at: AwareDatetime
    """When the ingress started: everything is counted since then."""
    running: bool
    """Whether windows are worked on side by side; false in sequential mode."""
    pending_responses: int
    """Requests under way."""


class PipelineStatistics(Document):
    """Queue, stages, slots, encoder."""

    queue: QueueFigures
    stage1: StageFigures
    stage2: StageFigures
    stage3: StageFigures
    buffers: SlotFigures
    encoder: EncoderFigures
    pipeline: PipelineState


class RequestFigures(Document):
    """Requests as clients see them."""

    answered: int
    """Audio requests that got their whole text."""
    failed: dict[str, int]
    """Errors of any route, by code."""
    audio_seconds: float
    """Audio of the requests answered."""
    avg_time: float
    """Time from the arrival of a request to the end of its answer."""
    p50_time: float
    p99_time: float


class FailureLogFigures(Document, FailureCounts):
    """The failure log."""


class ServiceStatistics(Document):
    """All statistics."""

    started_at: AwareDatetime
    """When the ingress started: everything is counted since then, anew after each restart."""
    requests: RequestFigures
    failure_log: FailureLogFigures
    pipeline: PipelineStatistics
    stages: StagesStatistics


FAILURE = JsonAnswer(Failure)
FAILURE_LIST = JsonAnswer(FailureList)
FAILURE_DELETED = JsonAnswer(FailureDeleted)
LIVENESS = JsonAnswer(Liveness)
READINESS = JsonAnswer(Readiness)
HEALTH = JsonAnswer(Health)
PIPELINE_HEALTH = JsonAnswer(PipelineHealth)
STATISTICS = JsonAnswer(ServiceStatistics)
PIPELINE_STATISTICS = JsonAnswer(PipelineStatistics)
STAGES_STATISTICS = JsonAnswer(StagesStatistics)
