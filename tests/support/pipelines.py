"""Requests for a pipeline, without HTTP."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from deployments.ingress.form import TranscriptionForm
from deployments.ingress.request import Priority, Request
from deployments.ingress.scheduling.admission import Admission
from deployments.ingress.scheduling.graph import Budgets, Graph
from deployments.ingress.scheduling.pipeline import Events, Pipeline
from deployments.ingress.scheduling.queues import Entry
from deployments.ingress.telemetry.record import RequestRecord
from deployments.ingress.telemetry.statistics import Statistics
from deployments.ingress.time_limit import TimeLimit
from deployments.ingress.work import Work
from deployments.shared.contracts import BlobRef, DecodeOptions, SpeechOptions, SpooledBlob, Stages

UPLOAD = SpooledBlob("/nonexistent/upload")


def make_request(
    name: str = "r", *, seconds: float = 60.0, priority: Priority = Priority.NORMAL, limit: TimeLimit | None = None
) -> Request:
    """Return a request that came just now, and has ``seconds`` unless ``limit`` says otherwise."""
    limit = limit or TimeLimit(time.monotonic(), seconds)
    return Request(name, "ann", "transcribe", TranscriptionForm.model_validate({}), b"audio", "a.wav", priority, limit)


def make_work(upload: BlobRef = UPLOAD, *, detect: bool = False) -> Work:
    """Return work in English, or in a language that has to be detected."""
    decode = DecodeOptions(language=None if detect else "en")
    return Work(upload, SpeechOptions(vad_filter=True, max_window_s=30), decode, detect_language=detect)


def make_pipeline(
    stages: Stages, admission: Admission, statistics: Statistics, budgets_s: Sequence[float], **options: Any
) -> Pipeline:
    """Return a pipeline whose stages have these budgets: mel, encoder, decoder; the diarizer has that of the last."""
    defaults: dict[str, Any] = {"max_windows_in_flight": 4, "slab_path": None}
    mel_s, encoder_s, decoder_s = budgets_s
    budgets = Budgets(mel_s, encoder_s, decoder_s, decoder_s)
    return Pipeline(Graph(stages, statistics, budgets), admission, **(defaults | options))


def run(pipeline: Pipeline, entry: Entry, request: Request, work: Work | None = None) -> Events:
    """Return the events of a request."""
    return pipeline.run(request, work or make_work(), RequestRecord(request.id, request.client), entry)
