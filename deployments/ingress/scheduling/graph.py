"""The stages of the graph as one ingress calls them: with budgets, retries, breakers and statistics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from deployments.ingress.scheduling.retries import RetryBudget
from deployments.ingress.scheduling.stage_calls import StageCalls
from deployments.ingress.telemetry.statistics import Statistics
from deployments.shared.contracts import Stages


@dataclass(frozen=True, slots=True)
class Budgets:
    """Seconds without anything finished after which each stage is asked whether it hangs."""

    mel_s: float
    encoder_s: float
    decoder_s: float
    diarizer_s: float


class Graph:
    """The three stages and the diarizer beside them, which all requests of an ingress share.

    Attributes:
        stages: what is called.
        retries: how many calls may be made again, in all stages together.
    """

    def __init__(self, stages: Stages, statistics: Statistics, budgets: Budgets) -> None:
        self.stages = stages
        self.retries = RetryBudget()
        self.mel = StageCalls(statistics.mel, budgets.mel_s, self.retries, partial(stages.progress, "mel"))
        self.encoder = StageCalls(
            statistics.encoder, budgets.encoder_s, self.retries, partial(stages.progress, "encoder")
        )
        self.decoder = StageCalls(
            statistics.decoder, budgets.decoder_s, self.retries, partial(stages.progress, "decoder")
        )

        self.diarizer = StageCalls(
            statistics.diarizer, budgets.diarizer_s, self.retries, partial(stages.progress, "diarizer")
        )

    @property
    def calls(self) -> tuple[StageCalls, StageCalls, StageCalls]:
        """The calls of each stage, in the order in which a request passes them."""
        return self.mel, self.encoder, self.decoder

    def set_budgets(self, budgets: Budgets) -> None:
        """Let all calls from now on have these budgets."""
        self.mel.budget_s = budgets.mel_s
        self.encoder.budget_s = budgets.encoder_s
        self.decoder.budget_s = budgets.decoder_s
        self.diarizer.budget_s = budgets.diarizer_s
