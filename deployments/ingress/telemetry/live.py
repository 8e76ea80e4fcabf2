"""What is counted of live transcription."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry

from deployments.ingress.telemetry import series
from deployments.ingress.telemetry.record import Outcome, outcome_of
from deployments.shared.errors import AmanuensisError


class LiveStatistics:
    """All live sessions of one ingress.

    Attributes:
        sessions: that are open.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sessions = 0
        utterances = series.LIVE_UTTERANCES.instrument(registry)
        partials = series.LIVE_PARTIALS.instrument(registry)
        self._utterances = {outcome: utterances.labels(outcome) for outcome in get_args(Outcome)}
        self._partials = {outcome: partials.labels(outcome) for outcome in get_args(Outcome)}
        self._text_s = series.LIVE_TEXT_SECONDS.instrument(registry)

    def utterance_answered(self, text_s: float) -> None:
        """Count an utterance whose whole text was told, ``text_s`` seconds after the end of its speech."""
        self._utterances["answered"].inc()
        self._text_s.observe(text_s)

    def utterance_failed(self, error: type[AmanuensisError]) -> None:
        """Count an utterance that has no text."""
        self._utterances[outcome_of(error)].inc()

    def partial_answered(self) -> None:
        """Count a transcription of an utterance that was still spoken."""
        self._partials["answered"].inc()

    def partial_failed(self, error: AmanuensisError) -> None:
        """Count one that gave no text."""
        self._partials[outcome_of(type(error))].inc()
