"""What the stages hand to each other: small frozen records. Arrays travel as references, never by value."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from deployments.shared.frames import SAMPLE_RATE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from ray import ObjectRef

Task = Literal["transcribe", "translate"]

StageName = Literal["mel", "encoder", "decoder"]


class Area(enum.StrEnum):
    """The two arrays a slot has room for."""

    LOG_MEL = "log_mel"
    ENCODER_STATES = "encoder_states"


@dataclass(frozen=True, slots=True)
class SlotArray:
    """An array in the shared-memory slab of this node."""

    slot: int
    generation: int
    area: Area
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Stored:
    """An array, or an upload's bytes, that travels through Ray's object store, for stages on another node.

    On its way back from a stage it is the value itself; the ingress, which outlives every call of a request, puts it
    into the store and passes the reference on. (A reference that a stage returned could outlive its object: Ray does
    not count references inside the results of Serve calls.)
    """

    content: ObjectRef[Any] | NDArray[Any]


ArrayRef = SlotArray | Stored


@dataclass(frozen=True, slots=True)
class SpooledBlob:
    """Bytes in a private file of this node's spool: an upload, or decoded audio."""

    path: str


BlobRef = SpooledBlob | Stored


@dataclass(frozen=True, slots=True)
class Ticket:
    """Goes with every stage call of one window: who it is for, where its arrays live, when it is too late.

    Attributes:
        request_id: as in the ``x-request-id`` header.
        slot: the slot granted by admission.
        generation: of the slot at that moment; any other value found there later is a violation.
        deadline: absolute, seconds since the epoch (clocks of one cluster are synchronised).
        slab: path of the slab on the ingress's node; None when arrays travel through the object store.
        priority: 0 is served first; see ``deployments.shared.urgency``.
    """

    request_id: str
    slot: int
    generation: int
    deadline: float
    slab: str | None
    priority: int = 1


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of audio with speech in it, the unit of scheduling. Times in seconds from the start of the audio.

    Attributes:
        index: counts up over the whole audio. What continues a window has the index of that window.
        speech: start and end of each stretch of speech that the voice detection heard inside, in order; empty where
            it heard none; None where nobody listened.
    """

    index: int
    start_s: float
    end_s: float
    speech: tuple[tuple[float, float], ...] | None = None

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def samples(self) -> slice:
        """Where the window lies in the decoded audio, in samples."""
        return slice(round(self.start_s * SAMPLE_RATE), round(self.end_s * SAMPLE_RATE))


@dataclass(frozen=True, slots=True)
class StageTiming:
    """What one stage call cost, in seconds, and who did it.

    Attributes:
        queue_s: waited inside the replica before the work began.
        run_s: the work itself; in a batch, the whole batch.
        batch_size: windows that shared the run.
        replica: Serve's replica id.
        device: what computed, for example ``cpu:openvino-bf16``.
    """

    queue_s: float
    run_s: float
    batch_size: int
    replica: str
    device: str


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    """How audio is cut into windows.

    Attributes:
        vad_filter: find speech with Silero VAD; otherwise cut windows of fixed length.
        max_window_s: no window is longer, 30 at most.
    """

    vad_filter: bool
    max_window_s: float


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How text is generated for every window of one request.

    Attributes:
        task: transcribe, or translate to English.
        language: ISO code; None detects it from the encoder states.
        other_language: ISO code to try where the text in ``language`` is not good: the window's own likeliest one,
            where doubt let it keep that of its neighbours; None where there is none.
        prompt: text the model should believe came before.
        hotwords: words that are likely to be spoken, separated by commas or spaces.
        temperature: 0 decodes greedily (or with the beam); above 0 samples.
        beam_size: 1 is greedy.
        word_times: align each word with the audio.
    """

    task: Task = "transcribe"
    language: str | None = None
    other_language: str | None = None
    prompt: str | None = None
    hotwords: str | None = None
    temperature: float = 0.0
    beam_size: int = 1
    word_times: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its times in seconds from the start of the audio and its probability in [0, 1]."""

    text: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """The text of one window.

    Attributes:
        text: without surrounding white space; empty where nobody speaks.
        tokens: text token ids, in order.
        language: ISO code.
        language_probability: 1.0 where the language was given.
        avg_logprob: mean log probability a token.
        no_speech_prob: probability that the window holds no speech.
        compression_ratio: length of the text over its zlib length; above 2.4 it repeats itself.
        temperature: the one that produced this text.
        words: empty unless word times were asked for.
        rest_from_s: the text ends here, in seconds from the start of the audio, although speech follows in the window:
            the rest has to be decoded as a window of its own. None where the text is complete.
    """

    text: str
    tokens: tuple[int, ...]
    language: str
    language_probability: float
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float
    words: tuple[Word, ...] = ()
    rest_from_s: float | None = None


@dataclass(frozen=True, slots=True)
class WindowMel:
    """The log-mel of one window: ``[n_mels, frames]`` float32."""

    log_mel: ArrayRef
    timing: StageTiming


@dataclass(frozen=True, slots=True)
class PreparedAudio:
    """What the first mel call of a request finds out.

    Attributes:
        duration_s: of the decoded audio.
        windows: every stretch of speech, in order; empty for silence.
        pcm: the decoded audio for later calls, 16 kHz mono int16; None when no later call needs it.
        first: the log-mel of ``windows[0]``; None when there is no speech.
        timing: of the whole call.
    """

    duration_s: float
    windows: tuple[Window, ...]
    pcm: BlobRef | None
    first: ArrayRef | None
    timing: StageTiming


@dataclass(frozen=True, slots=True)
class EncodedWindow:
    """Encoder states of one window: ``[frames / 2, d_model]`` float32."""

    states: ArrayRef
    timing: StageTiming


@dataclass(frozen=True, slots=True)
class EncoderHealth:
    """What the Encoder says of its device.

    Attributes:
        device: what computes, for example ``cpu:openvino-bf16``.
        status: ``degraded`` if part of the device failed or another one stands in, ``failed`` if it cannot encode.
        reason: what happened; None if nothing did.
        recoveries: failures of the device after which it works again.
        window_s: seconds that one window of the longest kind took when the encoder was warm; None if not measured.
    """

    device: str
    status: Literal["healthy", "degraded", "failed"]
    reason: str | None = None
    recoveries: int = 0
    window_s: float | None = None


@dataclass(frozen=True, slots=True)
class StageProgress:
    """Whether a replica that has work gets on with it.

    Attributes:
        stalled_s: seconds for which its work has got nowhere; 0 where it has none.
        budget_s: how long that may last, with this model on this machine, before it counts as hung.
    """

    stalled_s: float
    budget_s: float


@dataclass(frozen=True, slots=True)
class DetectedLanguage:
    """The likeliest language of one window: ISO code and probability in [0, 1]."""

    language: str
    probability: float
    timing: StageTiming


@dataclass(frozen=True, slots=True)
class DecodedWindow:
    """The transcript of one window and what it cost."""

    transcript: Transcript
    timing: StageTiming


class Stages(Protocol):
    """The stages of the graph, as calls. Each raises the typed errors of ``deployments.shared.errors``."""

    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        """Decode the upload, find the windows, compute the log-mel of the first one."""
        ...

    async def log_mel(self, ticket: Ticket, pcm: BlobRef, window: Window) -> WindowMel:
        """Compute the log-mel of a later window."""
        ...

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        """Run the encoder on the log-mel of one window."""
        ...

    async def detect_language(self, ticket: Ticket, states: ArrayRef, window: Window) -> DetectedLanguage:
        """Find the likeliest language of one window."""
        ...

    async def decode(
        self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
    ) -> DecodedWindow:
        """Generate the text of one window."""
        ...

    async def encoder_health(self) -> EncoderHealth:
        """Return what the encoder says of its device: proof that it answers."""
        ...

    async def progress(self, stage: StageName) -> StageProgress:
        """Return whether a stage that has finished nothing for a while gets on with what it works on."""
        ...


StageResult = TypeVar("StageResult", PreparedAudio, WindowMel, EncodedWindow, DetectedLanguage, DecodedWindow)
"""What a stage call returns; each has the ``timing`` of the call."""
