"""The real ingress, handoff and Serve calls with stages that compute nothing: what is left is what they cost."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve import Application

from deployments.app import ingress_options, stage_options
from deployments.encoder.deployment import Encoder
from deployments.ingress.deployment import Ingress
from deployments.placement import Placement
from deployments.shared.contracts import (
    Area,
    ArrayRef,
    BlobRef,
    DecodedWindow,
    DecodeOptions,
    EncodedWindow,
    EncoderHealth,
    PreparedAudio,
    SpeechOptions,
    StageProgress,
    StageTiming,
    Ticket,
    Transcript,
    Window,
)
from deployments.shared.memory.handoff import Handoff, open_upload
from deployments.shared.model.description import load_model
from deployments.shared.settings import Settings

SECONDS = 4.0
MEL_SHAPE = (80, 400)
STATES_SHAPE = (200, 192)
TIMING = StageTiming(0.0, 0.0, 1, "null", "none")
TRANSCRIPT = Transcript("Nothing was computed.", (1, 2, 3), "en", 1.0, 0.0, 0.0, 1.0, 0.0)


class NullStage:
    """A stage that never hangs."""

    def __init__(self) -> None:
        self._handoff = Handoff()

    async def progress(self) -> StageProgress:
        return StageProgress(0.0, 1.0)


@serve.deployment
class NullMel(NullStage):
    """A stage that reads the upload and hands on an unwritten log-mel."""

    async def prepare(self, ticket: Ticket, upload: BlobRef, _options: SpeechOptions) -> PreparedAudio:
        self._handoff.check_ticket(ticket)
        with open_upload(upload) as file:
            file.read()
        with self._handoff.output(ticket, Area.LOG_MEL, MEL_SHAPE) as array:
            log_mel = self._handoff.publish(ticket, Area.LOG_MEL, array)
        return PreparedAudio(SECONDS, (Window(0, 0.0, SECONDS),), None, log_mel, TIMING)


@serve.deployment
class NullEncoder(NullStage):
    """A stage that opens the log-mel and hands on unwritten states."""

    async def health(self) -> EncoderHealth:
        return EncoderHealth(TIMING.device, "healthy")

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        self._handoff.input(ticket, log_mel)
        with self._handoff.output(ticket, Area.ENCODER_STATES, STATES_SHAPE) as array:
            return EncodedWindow(self._handoff.publish(ticket, Area.ENCODER_STATES, array), TIMING)


@serve.deployment
class NullDecoder(NullStage):
    """A stage that opens the states and says a constant text."""

    async def decode(
        self, ticket: Ticket, states: ArrayRef, _window: Window, _options: DecodeOptions, _pcm: BlobRef | None
    ) -> DecodedWindow:
        self._handoff.input(ticket, states)
        return DecodedWindow(TRANSCRIPT, TIMING)


def build(arguments: dict[str, Any]) -> Application:
    """Return the graph of ``deployments.app`` with null stages."""
    placement = Placement.here(Settings.resolve(arguments))
    return _around(NullEncoder.options(**_options(placement)).bind(), placement)


def build_around_encoder(arguments: dict[str, Any]) -> Application:
    """Return the graph of ``deployments.app`` with its own encoder between null stages."""
    placement = Placement.here(Settings.resolve(arguments))
    model = load_model(placement.settings)
    return _around(Encoder.options(**_options(placement)).bind(placement.settings, model), placement)


def _around(encoder: Application, placement: Placement) -> Application:
    settings = placement.settings
    mel, decoder = (deployment.options(**_options(placement)).bind() for deployment in (NullMel, NullDecoder))
    ingress = Ingress.options(**ingress_options(placement))
    application: Application = ingress.bind(settings, load_model(settings), mel, [encoder], decoder, None)
    return application


def _options(placement: Placement) -> dict[str, Any]:
    return {**stage_options(placement.settings), "ray_actor_options": placement.cpu_stage}
