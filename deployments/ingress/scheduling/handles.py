"""The graph's Serve handles as the ``Stages`` that the pipeline drives."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import ray
from ray.serve.handle import DeploymentHandle

from deployments.ingress.scheduling.encoder_pool import EncoderPool
from deployments.ingress.scheduling.replica_count import count_replicas
from deployments.ingress.scheduling.serve_call import call_stage, call_stage_until_cancelled
from deployments.shared.contracts import (
    ArrayRef,
    BlobRef,
    DecodedVoice,
    DecodedWindow,
    DecodeOptions,
    DetectedLanguage,
    Diarized,
    EncodedWindow,
    EncoderHealth,
    PreparedAudio,
    SpeakerOptions,
    SpeechOptions,
    StageName,
    StageProgress,
    Stored,
    Ticket,
    Window,
    WindowMel,
)
from deployments.shared.errors import SpeakersUnavailableError

V = TypeVar("V")


class ServeStages:
    """Calls to the deployments of the stages; the encoder has one per device, and there may be no diarizer.

    References into the object store must be passed by Ray, which counts them; otherwise calls are small and go the
    cheapest way that Serve is configured for.
    """

    def __init__(
        self,
        mel: DeploymentHandle,
        encoders: Sequence[DeploymentHandle],
        decoder: DeploymentHandle,
        diarizer: DeploymentHandle | None,
        *,
        by_reference: bool,
    ) -> None:
        options: dict[str, Any] = {"_by_reference": True} if by_reference else {}
        self._mel = mel.options(**options)
        self._encoder_deployments = [encoder.options(**options) for encoder in encoders]
        self._encoders = EncoderPool(self._encoder_deployments)
        self._decoder = decoder.options(**options)
        self._diarizer = None if diarizer is None else diarizer.options(**options)

    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        prepared = await call_stage(self._mel.prepare, PreparedAudio, ticket, upload, options)
        return replace(prepared, pcm=_in_store(prepared.pcm), first=_in_store(prepared.first))

    async def log_mel(self, ticket: Ticket, pcm: BlobRef, window: Window) -> WindowMel:
        mel = await call_stage(self._mel.log_mel, WindowMel, ticket, pcm, window)
        return replace(mel, log_mel=_in_store(mel.log_mel))

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        encoded = await self._encoders.encode(ticket, log_mel)
        return replace(encoded, states=_in_store(encoded.states))

    async def detect_language(
        self, ticket: Ticket, states: ArrayRef, window: Window, among: tuple[str, ...]
    ) -> DetectedLanguage:
        return await call_stage(self._decoder.detect_language, DetectedLanguage, ticket, states, window, among)

    async def decode(
        self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
    ) -> DecodedWindow:
        return await call_stage(self._decoder.decode, DecodedWindow, ticket, states, window, options, pcm)

    async def decode_voice(self, ticket: Ticket, recording: BlobRef) -> DecodedVoice:
        voice = await call_stage(self._mel.decode_voice, DecodedVoice, ticket, recording)
        return replace(voice, pcm=_in_store(voice.pcm))

    async def diarize(self, ticket: Ticket, pcm: BlobRef, samples: int, options: SpeakerOptions) -> Diarized:
        diarize = self._required_diarizer.diarize
        return await call_stage_until_cancelled(diarize, Diarized, ticket, pcm, samples, options)

    async def encoder_health(self) -> EncoderHealth:
        """Return what the encoders say of their devices: proof that they answer."""
        return await self._encoders.health()

    async def progress(self, stage: StageName) -> StageProgress:
        """Return whether a stage gets on; of several encoders the one that is best off, of other replicas any one."""
        if stage == "encoder":
            return await self._encoders.progress()
        if stage == "diarizer":
            return await call_stage(self._required_diarizer.progress, StageProgress)
        handle = self._mel if stage == "mel" else self._decoder
        return await call_stage(handle.progress, StageProgress)

    @property
    def _required_diarizer(self) -> DeploymentHandle:
        if self._diarizer is None:
            raise SpeakersUnavailableError.switched_off()
        return self._diarizer

    async def replicas(self) -> dict[StageName, int]:
        deployments: dict[StageName, Sequence[DeploymentHandle]] = {
            "mel": [self._mel],
            "encoder": self._encoder_deployments,
            "decoder": [self._decoder],
        }
        counts = await asyncio.gather(*map(count_replicas, deployments.values()))
        return {stage: count for stage, count in zip(deployments, counts, strict=True) if count is not None}


def _in_store(value: V) -> V | Stored:
    """Put a value that came back from a stage into the store; shared memory needs nothing of the kind."""
    return Stored(ray.put(value.content)) if isinstance(value, Stored) else value
