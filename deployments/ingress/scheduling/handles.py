"""The graph's Serve handles as the ``Stages`` that the pipeline drives; Ray's exceptions become ours here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import grpc
import ray
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.ingress.scheduling.encoder_pool import EncoderPool
from deployments.shared.contracts import (
    ArrayRef,
    BlobRef,
    DecodedWindow,
    DecodeOptions,
    DetectedLanguage,
    EncodedWindow,
    EncoderHealth,
    PreparedAudio,
    SpeechOptions,
    StageName,
    StageProgress,
    Stored,
    Ticket,
    Window,
    WindowMel,
)
from deployments.shared.errors import AmanuensisError, InternalError, StageLostError

logger = logging.getLogger("ray.serve")

TRANSPORT_ERRORS = (RayError, RayServeException, grpc.RpcError, RuntimeError)
"""What is raised where a call or its answer got lost. Serve's gRPC transport passes most errors of a connection on as
they are, or as a bare RuntimeError; what a stage itself raises comes as ``RayTaskError``."""

T = TypeVar("T")
V = TypeVar("V")


class ServeStages:
    """Calls the deployments of the three stages; the encoder has one a device.

    References into the object store must be passed by Ray, which counts them; otherwise calls are small and go the
    cheapest way that Serve is configured for.
    """

    def __init__(
        self,
        mel: DeploymentHandle,
        encoders: Sequence[DeploymentHandle],
        decoder: DeploymentHandle,
        *,
        by_reference: bool,
    ) -> None:
        options: dict[str, Any] = {"_by_reference": True} if by_reference else {}
        self._mel = mel.options(**options)
        self._encoders = EncoderPool([_Encoder(encoder.options(**options)) for encoder in encoders])
        self._decoder = decoder.options(**options)

    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        prepared = await _call(self._mel.prepare, PreparedAudio, ticket, upload, options)
        return replace(prepared, pcm=_kept(prepared.pcm), first=_kept(prepared.first))

    async def log_mel(self, ticket: Ticket, pcm: BlobRef, window: Window) -> WindowMel:
        mel = await _call(self._mel.log_mel, WindowMel, ticket, pcm, window)
        return replace(mel, log_mel=_kept(mel.log_mel))

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        encoded = await self._encoders.encode(ticket, log_mel)
        return replace(encoded, states=_kept(encoded.states))

    async def detect_language(self, ticket: Ticket, states: ArrayRef, window: Window) -> DetectedLanguage:
        return await _call(self._decoder.detect_language, DetectedLanguage, ticket, states, window)

    async def decode(
        self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
    ) -> DecodedWindow:
        return await _call(self._decoder.decode, DecodedWindow, ticket, states, window, options, pcm)

    async def encoder_health(self) -> EncoderHealth:
        """What the encoders say of their devices: proof that they answer."""
        return await self._encoders.health()

    async def progress(self, stage: StageName) -> StageProgress:
        """Whether a stage gets on; of several encoders the one that is best off, of other replicas any one."""
        if stage == "encoder":
            return await self._encoders.progress()
        handle = self._mel if stage == "mel" else self._decoder
        return await _call(handle.progress, StageProgress)


class _Encoder:
    """One deployment of the encoder."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        return await _call(self._handle.encode, EncodedWindow, ticket, log_mel)

    async def health(self) -> EncoderHealth:
        return await _call(self._handle.health, EncoderHealth)

    async def progress(self) -> StageProgress:
        return await _call(self._handle.progress, StageProgress)


def _kept(value: V) -> V | Stored:
    """A value that came back from a stage, in the store from now on; shared memory needs nothing of the kind."""
    return Stored(ray.put(value.content)) if isinstance(value, Stored) else value


async def _call(method: DeploymentHandle, result_type: type[T], *arguments: object) -> T:
    try:
        result = await method.remote(*arguments)
    except AmanuensisError:
        raise
    except RayTaskError as error:
        raise _cause(error, _caller(arguments)) from error
    except TRANSPORT_ERRORS as error:
        logger.warning("%s: a stage call was lost: %s", _caller(arguments), type(error).__name__)
        raise StageLostError(
            "a part of the service failed while it worked on this; try again", retry_after_s=1
        ) from error
    if not isinstance(result, result_type):
        raise InternalError("a stage gave an unexpected answer")
    return result


def _caller(arguments: tuple[object, ...]) -> str:
    """Who asked, for the log."""
    return next((f"request {item.request_id}" for item in arguments if isinstance(item, Ticket)), "the health probe")


def _cause(error: RayTaskError, caller: str) -> AmanuensisError:
    cause = error.cause
    if isinstance(cause, AmanuensisError):
        return cause
    logger.error("%s: a stage raised an unexpected error", caller, exc_info=error)
    return InternalError("an internal error occurred; the log has it under this request's id")
