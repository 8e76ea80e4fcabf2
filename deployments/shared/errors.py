"""Every error a client can meet: one class each, with its HTTP status and OpenAI ``type`` and ``code``.

A message begins with a capital letter, says what is wrong and what to do, and never holds paths, stack traces or other
internals. A message for a fault that several places find is written here, in a constructor of its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Self

from typing_extensions import TypedDict

AUDIO_FORMATS: Final = "wav, mp3, m4a/aac, flac, ogg/opus, webm, mp4 or another usual audio or video format"
"""The formats that an upload may have, as messages name them."""

JOBS_RETRY_AFTER_S: Final = 60.0
"""Jobs make room when they are deleted or forgotten: nobody knows when."""

LIVE_RETRY_AFTER_S: Final = 10.0
"""Live sessions end when their speakers go: nobody knows when."""


GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
SERVER_FAULT: Final = 1011
SERVICE_RESTART: Final = 1012


class ErrorDetails(TypedDict):
    """What went wrong, in OpenAI's words."""

    message: str
    """What is wrong, and what to do."""
    type: str
    """The family of errors that it belongs to."""
    param: str | None
    """The parameter at fault; null where none is."""
    code: str
    """The error's own name, for programs."""


class ErrorBody(TypedDict):
    """OpenAI's error document."""

    error: ErrorDetails


class AmanuensisError(Exception):
    """Base of all errors that reach a client.

    Attributes:
        retryable: whether the same call may succeed when it is made again: the failure was not the request's.
        discourages_retry: whether clients are told not to repeat the request: it would only cause the same work again.
        status: HTTP status.
        close_code: of a WebSocket that it ends, after RFC 6455.
        type: OpenAI's error family.
        code: machine-readable code in OpenAI's style.
        message: what is wrong and what to do, for the client.
        param: the request parameter at fault, if there is one.
        retry_after_s: seconds after which another attempt makes sense, sent as ``Retry-After``.
        stage: the stage at fault, if there is one; for the operator, never sent to a client.
    """

    retryable: ClassVar[bool] = False
    discourages_retry: ClassVar[bool] = False
    status: ClassVar[int] = 500
    close_code: ClassVar[int] = SERVER_FAULT
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.stage: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross process borders by pickle, which would drop the keyword-only fields.
        return _rebuild, (type(self), self.message, self.param, self.retry_after_s), {"stage": self.stage}

    def body(self) -> ErrorBody:
        """Return OpenAI's error document."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def _rebuild(
    cls: type[AmanuensisError], message: str, param: str | None, retry_after_s: float | None
) -> AmanuensisError:
    return cls(message, param=param, retry_after_s=retry_after_s)


class InvalidRequestError(AmanuensisError):
    """A parameter is missing, malformed or out of range."""

    status, type, code = 400, "invalid_request_error", "invalid_request"


class UnsupportedParameterError(InvalidRequestError):
    """The request uses a parameter of the OpenAI API that this service knows but cannot honour."""

    code = "unsupported_parameter"


class InvalidAudioError(InvalidRequestError):
    """The file cannot be decoded, or holds no usable audio."""

    code = "invalid_audio"

    @classmethod
    def empty_file(cls) -> Self:
        """Say that an upload has no bytes."""
        return cls(f"The file is empty. Upload a recording as {AUDIO_FORMATS}.", param="file")


class AudioTooLongError(InvalidAudioError):
    """The decoded audio is longer than the service accepts."""

    code = "audio_too_long"


class AudioTooSlowError(AudioTooLongError):
    """The audio takes far more time to decode than its length explains."""


class EmptyAudioBufferError(InvalidRequestError):
    """A live client commits an utterance in which nothing can have been said."""

    code = "input_audio_buffer_commit_empty"

    @classmethod
    def with_only(cls, milliseconds: int) -> Self:
        """Say how much there is, and how much is needed."""
        return cls(
            f"The buffer holds {milliseconds} ms of audio, and 100 ms are the least; append more and commit then"
        )

    @classmethod
    def without_speech(cls) -> Self:
        """Say that the turn detection has found nothing to commit."""
        return cls(
            "Nobody has spoken since the last commit; wait for input_audio_buffer.speech_started, or send "
            "turn_detection: null to commit whatever was appended"
        )


class FullAudioBufferError(InvalidRequestError):
    """A live client appends more than one utterance may hold."""

    code = "input_audio_buffer_full"

    @classmethod
    def beyond(cls, seconds: float) -> Self:
        """Say how much it may hold."""
        return cls(f"The buffer would hold more than {seconds:g} s, so this audio was not taken; commit or clear first")


class UnsupportedEventError(InvalidRequestError):
    """A live client sends an event that this service knows but cannot honour."""

    code = "unsupported_event"


class UnsupportedLanguageError(InvalidRequestError):
    """The model does not know the language, or cannot translate."""

    code = "unsupported_language"

    @classmethod
    def unknown_to_model(cls, language: str, known: Sequence[str]) -> Self:
        """Say that the model does not know a language, and which ones it knows."""
        return cls(
            f"The model does not know the language '{language}'. It knows: {', '.join(known)}.", param="language"
        )

    @classmethod
    def cannot_translate(cls) -> Self:
        """Say that the model knows only English."""
        return cls("The model is English-only and cannot translate", param="model")


class SpeakersUnavailableError(InvalidRequestError):
    """Speakers cannot be told apart by this service, or not in this recording."""

    code = "speakers_unavailable"

    @classmethod
    def switched_off(cls) -> Self:
        """Say that nobody configured what tells speakers apart."""
        return cls(
            "Speakers are not told apart here: diarization_model is off. Leave diarize out, or ask the operator.",
            param="diarize",
        )

    @classmethod
    def not_installed(cls, model: str, error: Exception) -> Self:
        """Say what the configured model needs."""
        return cls(
            f"Speakers cannot be told apart here: diarization_model={model} needs WhisperX, which cannot be imported "
            f"({error}). The operator may install it with `pip install whisperx`, or set diarization_model=built-in.",
            param="diarize",
        )

    @classmethod
    def not_loadable(cls, model: str, error: Exception) -> Self:
        """Say that the configured model cannot be loaded, and what may help."""
        return cls(
            f"Speakers cannot be told apart here: the pipeline {model} cannot be loaded ({type(error).__name__}). The "
            "operator may accept its conditions on the hub and set HF_TOKEN, name its directory here, or set "
            "diarization_model=built-in.",
            param="diarize",
        )

    @classmethod
    def no_voice(cls) -> Self:
        """Say that a reference holds no speech."""
        return cls(
            "There is no voice in one of the known_speaker_references; send 2 to 10 s of speech by one person.",
            param="known_speaker_references",
        )


class TimeoutTooShortError(InvalidRequestError):
    """The audio would take this machine longer than the request may take."""

    code = "timeout_too_short"


class JobsDisabledError(InvalidRequestError):
    """The service keeps no jobs."""

    code = "jobs_disabled"

    @classmethod
    def without_directory(cls) -> Self:
        """Say which setting is missing."""
        return cls("This service keeps no jobs; leave out async=true, or ask its operator to set jobs_dir")


class CallbackNotAllowedError(InvalidRequestError):
    """Nobody is called back at this address."""

    code = "callback_not_allowed"


class AuthenticationError(AmanuensisError):
    """The service has API keys, and the request carries none of them."""

    status, type, code = 401, "invalid_request_error", "invalid_api_key"


class PermissionDeniedError(AmanuensisError):
    """The key is good, but not for this route."""

    status, type, code = 403, "invalid_request_error", "insufficient_permissions"


class HostNotAllowedError(AmanuensisError):
    """The service has no API keys, and the request names a host that could be anybody's."""

    status, type, code = 403, "invalid_request_error", "host_not_allowed"


class OriginNotAllowedError(AmanuensisError):
    """The service has no API keys, and the request comes from a web page of another origin."""

    status, type, code = 403, "invalid_request_error", "origin_not_allowed"


class NotFoundError(AmanuensisError):
    """The route does not exist."""

    status, type, code = 404, "invalid_request_error", "not_found"


class ModelNotFoundError(NotFoundError):
    """The request names a model that is not served."""

    code = "model_not_found"


class JobNotFoundError(NotFoundError):
    """There is no such job, or it is another client's: nobody learns which."""

    code = "job_not_found"

    @classmethod
    def of(cls, job_id: str) -> Self:
        """Say that a client has no such job."""
        return cls(f"There is no job {job_id}; GET /v1/jobs lists yours")


class MethodNotAllowedError(AmanuensisError):
    """The route exists, with another method."""

    status, type, code = 405, "invalid_request_error", "method_not_allowed"


class JobNotDoneError(AmanuensisError):
    """The job has no result yet."""

    status, type, code = 409, "invalid_request_error", "job_not_done"


class JobCancelledError(AmanuensisError):
    """The job was cancelled, so it will never have a result."""

    status, type, code = 409, "invalid_request_error", "job_cancelled"


class UploadTimeoutError(AmanuensisError):
    """The request's body did not arrive in time."""

    status, type, code = 408, "invalid_request_error", "upload_timeout"


class PayloadTooLargeError(AmanuensisError):
    """The upload is larger than the limit."""

    status, type, code = 413, "invalid_request_error", "payload_too_large"


class UpgradeRequiredError(AmanuensisError):
    """The route is for WebSockets, and the request does not ask for one."""

    status, type, code = 426, "invalid_request_error", "upgrade_required"


class RateLimitError(AmanuensisError):
    """The client sent more requests than it may in this time (``type`` as OpenAI's rate limits have it)."""

    status, type, code = 429, "requests", "rate_limit_exceeded"


class TooManyConcurrentRequestsError(RateLimitError):
    """The client already has as many requests running as it may."""

    code = "too_many_concurrent_requests"


class LiveSessionExpiredError(AmanuensisError):
    """A live session has lasted as long as it may."""

    status, type, code = 408, "invalid_request_error", "session_expired"
    close_code = GOING_AWAY

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Say how long that is."""
        return cls(f"The session has lasted {seconds:g} s, the longest that one may; open another one")


class LiveSessionIdleError(AmanuensisError):
    """A live session got nothing from its client for too long."""

    status, type, code = 408, "invalid_request_error", "session_idle"
    close_code = GOING_AWAY

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Say how long that was."""
        return cls(
            f"Nothing came for {seconds:g} s; send audio, silence too, or open another session when you need one"
        )


class LiveAudioTooFastError(AmanuensisError):
    """A live session got more than it can hear in time."""

    status, type, code = 429, "invalid_request_error", "audio_too_fast"
    close_code = POLICY_VIOLATION

    @classmethod
    def beyond(cls, seconds: float) -> Self:
        """Say how far a client may be ahead."""
        return cls(
            f"More than {seconds:g} s of audio, or too many events, wait to be heard; send audio as fast as it is "
            "spoken, and recordings to /v1/audio/transcriptions"
        )


class LiveReaderTooSlowError(AmanuensisError):
    """The client of a live session does not read its events."""

    status, type, code = 429, "invalid_request_error", "reads_too_slowly"
    close_code = POLICY_VIOLATION

    @classmethod
    def behind(cls, events: int) -> Self:
        """Say how many events it has not read."""
        return cls(f"The client has left {events} events unread; read them as they come")


class ClientDisconnectedError(AmanuensisError):
    """The client went away; nobody reads this answer (status as nginx logs it)."""

    status, type, code = 499, "invalid_request_error", "client_closed_request"


class InternalError(AmanuensisError):
    """An error nobody foresaw; the log has it under the request id."""

    @classmethod
    def of_session(cls, session_id: str) -> Self:
        """Say whom to tell what, when a live session fails."""
        return cls(f"An internal error occurred; tell the operator the id of this session, {session_id}")


class JobAbandonedError(InternalError):
    """The service failed again and again while it worked on a job."""

    code = "job_abandoned"

    @classmethod
    def after_lost_runs(cls) -> Self:
        """Say that the job is not tried again."""
        return cls(
            "The service stopped several times while it worked on this job, so it is not tried again; send the "
            "recording in another format or in parts, and tell the operator the id of the job"
        )


class QueueFullError(AmanuensisError):
    """The admission queue is full."""

    status, type, code = 503, "overloaded_error", "queue_full"


class OverloadedError(AmanuensisError):
    """The request could not be answered by its deadline, or gave way to one of higher priority."""

    status, type, code = 503, "overloaded_error", "overloaded"


class QueueTimeoutError(AmanuensisError):
    """The request waited for its first slot until its deadline was out of reach; nothing was done for it."""

    status, type, code = 503, "overloaded_error", "queue_timeout"


class OutOfSpaceError(AmanuensisError):
    """The uploads in flight fill the spool, or the directory that large ones pass through."""

    status, type, code = 503, "overloaded_error", "out_of_space"


class JobsFullError(AmanuensisError):
    """The jobs that are kept leave no room for another one."""

    status, type, code = 503, "overloaded_error", "jobs_full"

    @classmethod
    def too_many(cls, limit: int) -> Self:
        """Say that as many jobs are kept as may be."""
        return cls(
            f"The service keeps {limit} jobs, and no more; delete those whose results you have, or try again later",
            retry_after_s=JOBS_RETRY_AFTER_S,
        )

    @classmethod
    def too_large(cls) -> Self:
        """Say that the jobs fill the room they may take."""
        return cls(
            "The jobs of the service leave no room for this recording; delete those whose results you have, or try "
            "again later",
            retry_after_s=JOBS_RETRY_AFTER_S,
        )


class LiveSessionsFullError(AmanuensisError):
    """As many live sessions are open as may be."""

    status, type, code = 503, "overloaded_error", "live_sessions_full"

    @classmethod
    def too_many(cls, limit: int) -> Self:
        """Say how many that is."""
        return cls(
            f"{limit} live sessions are open, and no more may be; try again later",
            retry_after_s=LIVE_RETRY_AFTER_S,
        )


class TooManyUtterancesError(AmanuensisError):
    """A live session has as many utterances waiting for their text as it may."""

    status, type, code = 503, "overloaded_error", "too_many_utterances"

    @classmethod
    def of(cls, limit: int) -> Self:
        """Say how many that is."""
        return cls(f"{limit} utterances of this session wait for their text; commit the next one when one is done")


class ServiceUnavailableError(AmanuensisError):
    """The service is starting, stopping or broken."""

    status, type, code = 503, "server_error", "service_unavailable"


class StageLostError(ServiceUnavailableError):
    """The replica that worked on a call died, or could not be reached."""

    code = "stage_lost"
    retryable = True


REPLICA_LOST = "A part of the service failed while it worked on this; try again"
"""Message of a ``StageLostError`` whose reason tells the client nothing."""


class DeviceUnreliableError(ServiceUnavailableError):
    """The encoder's device failed in a way that it may recover from."""

    code = "device_error"
    retryable = True


class DeviceBrokenError(ServiceUnavailableError):
    """The encoder's device has failed for good."""

    code = "device_failed"


class CircuitOpenError(ServiceUnavailableError):
    """A stage failed repeatedly; it is left alone for a while."""

    code = "circuit_open"


class DrainingError(ServiceUnavailableError):
    """The service is stopping: it finishes what it has and takes nothing new."""

    code = "draining"
    close_code = SERVICE_RESTART


class DeadlineExceededError(AmanuensisError):
    """The request's deadline passed before it was answered."""

    status, type, code = 504, "timeout_error", "deadline_exceeded"
    discourages_retry = True

    @classmethod
    def before(cls, what: str) -> Self:
        """Say what had not happened yet when the deadline passed, such as ``this stage began``."""
        return cls(f"The request's deadline passed before {what}; send shorter audio or allow more time")


class StageTimeoutError(DeadlineExceededError):
    """One stage finished nothing, for this request or any other, for longer than its budget."""

    code = "stage_timeout"
    discourages_retry = False


class SlotViolationError(AmanuensisError):
    """A stage met a slot that belongs to another request by now; its result was thrown away."""

    code = "slot_violation"


class RequestCancelledError(AmanuensisError):
    """The request was given up before this stage began its work."""

    status, type, code = 499, "invalid_request_error", "request_cancelled"

    @classmethod
    def given_up(cls) -> Self:
        """Say that nobody waits for the result any more."""
        return cls("The request was given up")


class StageHungError(Exception):
    """A replica has work and makes no progress; for Serve, which replaces the replica, never sent to a client."""


class ConfigurationError(Exception):
    """The service cannot start as configured; for the operator, never sent to a client."""
