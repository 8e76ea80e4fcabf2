"""What the stages hand to each other: small frozen records. Arrays travel as references, never by value."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from deployments.shared.frames import SAMPLE_RATE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from ray import ObjectRef

Task = Literal["transcribe", "translate"]

StageName = Literal["mel", "encoder", "decoder", "diarizer"]


class Area(enum.StrEnum):
    """The two arrays that a slot has room for."""

    LOG_MEL = "log_mel"
    ENCODER_STATES = "encoder_states"


@dataclass(frozen=True, slots=True)
class SlotArray:
    """An array in the shared-memory slab of this node; arguments as those of ``Slab.view``."""

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


def shared_now(slab: str | None) -> float:
    """Return the time now, in seconds, on the clock that the ingress and the stages have in common.

    On one node that is the machine's monotonic clock, which no correction of the time of day moves. Machines have only
    the time since the epoch in common: where several work together, their clocks must be synchronised.

    Args:
        slab: as a ticket names it: None where arrays may travel to other nodes.
    """
    return time.time() if slab is None else time.monotonic()


NO_SLOT = -1
"""The slot of a ticket whose call works on no slot."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """The part of every stage call that says for whom it is, where its arrays live, and when it comes too late.

    Attributes:
        request_id: the request's id in the ``x-request-id`` header.
        slot: the slot granted by admission; ``NO_SLOT`` where none is needed.
        generation: generation of the slot at that moment; any other value found there later is a violation.
        deadline: absolute, in seconds of the clock that ``shared_now`` reads.
        slab: path of the slab on the ingress's node; None when arrays travel through the object store, or there is no
            slot.
        priority: 0 is served first; see ``deployments.shared.urgency``.
    """

    request_id: str
    slot: int
    generation: int
    deadline: float
    slab: str | None
    priority: int = 1

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return shared_now(self.slab) > self.deadline


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of audio with speech in it: the unit of scheduling.

    Attributes:
        index: number of the window in the whole audio. The rest of a window has the index of that window.
        start_s, end_s: seconds from the start of the audio.
        speech: start and end of each stretch of speech that the voice detection heard inside, in order, in seconds from
            the start of the audio; empty if it heard none; None if it did not run.
        in_full: whether all of the 30 s are encoded, also where the audio context is trimmed to the speech.
        channel: number of the channel that is heard, from 1, where each is a recording of its own; None for their mix.
        first_sample: where that channel begins in the decoded audio.
    """

    index: int
    start_s: float
    end_s: float
    speech: tuple[tuple[float, float], ...] | None = None
    in_full: bool = False
    channel: int | None = None
    first_sample: int = 0

    @property
    def duration_s(self) -> float:
        """Length of the window in seconds."""
        return self.end_s - self.start_s

    @property
    def samples(self) -> slice:
        """Where the window lies in the decoded audio, in samples."""
        start, end = round(self.start_s * SAMPLE_RATE), round(self.end_s * SAMPLE_RATE)
        return slice(self.first_sample + start, self.first_sample + end)


@dataclass(frozen=True, slots=True)
class StageTiming:
    """What one stage call cost, in seconds, and who did it.

    Attributes:
        queue_s: seconds inside the replica before the work began.
        run_s: seconds of the work itself; in a batch, of the whole batch.
        batch_size: number of windows that shared the work.
        replica: Serve's replica id.
        device: what computed, for example ``cpu:openvino-bf16``.
    """

    queue_s: float
    run_s: float
    batch_size: int
    replica: str
    device: str


@dataclass(frozen=True, slots=True)
class AudioOptions:
    """What is read of an upload.

    Attributes:
        track: number of the audio track, from 1; None takes the one marked as the default, else the first.
        separate_channels: whether each channel is a recording of its own, as in a call; otherwise they are mixed.
        strict: whether a recording that is damaged or cut off is refused; otherwise what can be read of it is.
    """

    track: int | None = None
    separate_channels: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class VoiceOptions:
    """What the voice detection takes for speech. None stands for what was found to be best.

    Attributes:
        threshold: probability in [0, 1] at which speech begins.
        silence_s: seconds of the shortest pause that ends a stretch of speech.
        padding_s: seconds of audio kept before a stretch of speech.
    """

    threshold: float | None = None
    silence_s: float | None = None
    padding_s: float | None = None


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    """What is heard of an upload, and how it is cut into windows.

    Attributes:
        vad_filter: whether windows hold only the speech that Silero VAD finds; otherwise they cover all of the audio.
        max_window_s: seconds of the longest window, at most 30.
        audio: what is read of the upload.
        voice: what counts as speech.
    """

    vad_filter: bool
    max_window_s: float
    audio: AudioOptions = AudioOptions()
    voice: VoiceOptions = VoiceOptions()


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How text is generated for every window of one request.

    Attributes:
        task: transcribe, or translate to English.
        language: ISO code; None detects it from the encoder states.
        among: ISO codes of the languages that it may be; empty for all that the model knows.
        other_language: ISO code to try if the text in ``language`` is not good: the window's own likeliest language,
            where it was so doubtful that the window got the language of its neighbours; None elsewhere.
        language_before: ISO code of the language of what was said before the window, the likelier one where the
            window's own is detected; None where nobody knows.
        prompt: text that the model takes for what was said before.
        hotwords: words that are likely to be spoken, separated by commas or spaces.
        temperature: 0 takes the likeliest text; above 0 it is sampled.
        beam_size: hypotheses kept; 1 is greedy.
        word_times: whether each word is aligned with the audio.
        logprobs: whether the log probability of each token is wanted.
        fallback_temperatures: temperatures to sample at, in turn, where no deterministic search finds a good text; None
            stands for those that are configured.
        draft: whether a quick text is enough, because another one replaces it soon: no better one is searched for, and
            nothing is encoded again or aligned.
    """

    task: Task = "transcribe"
    language: str | None = None
    among: tuple[str, ...] = ()
    other_language: str | None = None
    language_before: str | None = None
    prompt: str | None = None
    hotwords: str | None = None
    temperature: float = 0.0
    beam_size: int = 1
    word_times: bool = False
    logprobs: bool = False
    fallback_temperatures: tuple[float, ...] | None = None
    draft: bool = False


@dataclass(frozen=True, slots=True)
class VoiceSample:
    """A recording of one person's voice, decoded.

    Attributes:
        name: of the person.
        pcm: 16 kHz mono int16.
        samples: how many.
    """

    name: str
    pcm: BlobRef
    samples: int


@dataclass(frozen=True, slots=True)
class SpeakerOptions:
    """How speakers are told apart.

    Attributes:
        fewest, most: speakers that there are; None where nobody knows.
        known: voices that may be among them.
        embeddings: whether the speakers' embeddings are wanted.
    """

    fewest: int | None = None
    most: int | None = None
    known: tuple[VoiceSample, ...] = ()
    embeddings: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One speaker speaks.

    Attributes:
        start_s, end_s: seconds from the start of the recording.
        speaker: number of the speaker, in the order in which they begin to speak.
    """

    start_s: float
    end_s: float
    speaker: int


@dataclass(frozen=True, slots=True)
class Speaker:
    """One of the people who speak.

    Attributes:
        name: of the known voice that it is; None for a stranger.
        level_db: mean power of the voice, in decibels below full scale.
        embedding: what the voice sounds like, of length 1; empty unless it is wanted.
    """

    name: str | None
    level_db: float
    embedding: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its times in seconds from the start of the audio and its probability in [0, 1]."""

    text: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token, or the few that make one character together: text, and natural logarithm of the probability."""

    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """The text of one window.

    Attributes:
        text: the text without surrounding white space; empty where nobody speaks.
        tokens: text token ids, in order.
        language: ISO code.
        language_probability: probability of the language; 1.0 where it was given.
        avg_logprob: mean log probability per token.
        no_speech_prob: probability that the window holds no speech.
        compression_ratio: length of the text over its zlib length; above 2.4 it repeats itself.
        temperature: temperature that produced this text.
        words: the words with their times; empty unless these were asked for.
        rest_from_s: where the text ends although speech follows in the window, in seconds from the start of the audio:
            the rest has to be decoded as a window of its own. None where the text is complete.
        needs_full_window: the text is not good, and the encoder saw less than 30 s: the window has to be encoded again
            in full before anything else is tried.
        logprobs: of the tokens, in order; empty unless these were asked for or the text is a draft, and where the text
            could not be aligned.
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
    needs_full_window: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class WindowMel:
    """The log-mel of one window: ``[n_mels, frames]`` float32."""

    log_mel: ArrayRef
    timing: StageTiming


@dataclass(frozen=True, slots=True)
class PreparedAudio:
    """What the first mel call of a request finds out.

    Attributes:
        duration_s: length of the recording in seconds.
        windows: the windows in order; empty for silence.
        pcm: the decoded audio for later calls, 16 kHz int16, one channel behind the other; None where no later call
            needs it.
        first: the log-mel of ``windows[0]``; None where there is no window.
        timing: what the whole call cost.
        warnings: what of the recording could not be read, in whole sentences for the client.
        channels: recordings of ``duration_s`` in it: more than one where channels are kept separate.
    """

    duration_s: float
    windows: tuple[Window, ...]
    pcm: BlobRef | None
    first: ArrayRef | None
    timing: StageTiming
    warnings: tuple[str, ...] = ()
    channels: int = 1


@dataclass(frozen=True, slots=True)
class DecodedVoice:
    """A recording of one voice, decoded: 16 kHz mono int16."""

    pcm: BlobRef
    samples: int
    timing: StageTiming


@dataclass(frozen=True, slots=True)
class Diarized:
    """Who speaks when in a recording: the turns in order, those of two who speak at the same time overlap."""

    speakers: tuple[Speaker, ...]
    turns: tuple[Turn, ...]
    timing: StageTiming


@dataclass(frozen=True, slots=True)
class EncodedWindow:
    """The encoder states of one window: ``[ctx, d_model]`` float32.

    ``ctx`` is half the frames of the log-mel, and where the model has averages of the silence behind speech
    (``npu_encoder.silence``) the rows that stand for it.
    """

    states: ArrayRef
    timing: StageTiming


@dataclass(frozen=True, slots=True)
class EncoderHealth:
    """What an encoder says about its device.

    Attributes:
        device: what computes, for example ``cpu:openvino-bf16``.
        status: ``degraded`` if part of the device failed or another device works in its place, ``failed`` if nothing
            can encode.
        reason: what happened; None if nothing did.
        recoveries: number of failures after which the device works again.
        window_s: seconds that one window of the longest kind took the warm encoder at its start; of a CPU only those
            in which it computed. None if not measured.
    """

    device: str
    status: Literal["healthy", "degraded", "failed"]
    reason: str | None = None
    recoveries: int = 0
    window_s: float | None = None


@dataclass(frozen=True, slots=True)
class StageProgress:
    """Whether a replica that has work makes progress.

    Attributes:
        stalled_s: seconds for which its work has made no progress; 0 if it has no work.
        budget_s: seconds that this may last, with this model on this machine, before the replica counts as hung.
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

    async def detect_language(
        self, ticket: Ticket, states: ArrayRef, window: Window, among: tuple[str, ...]
    ) -> DetectedLanguage:
        """Find the likeliest language of one window, of those in ``among``, or of all where that is empty."""
        ...

    async def decode(
        self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
    ) -> DecodedWindow:
        """Generate the text of one window."""
        ...

    async def decode_voice(self, ticket: Ticket, recording: BlobRef) -> DecodedVoice:
        """Decode a recording of one voice, which lasts some seconds."""
        ...

    async def diarize(self, ticket: Ticket, pcm: BlobRef, samples: int, options: SpeakerOptions) -> Diarized:
        """Find out who speaks when in decoded audio of so many samples."""
        ...

    async def encoder_health(self) -> EncoderHealth:
        """Return what the encoder says about its device: proof that it answers."""
        ...

    async def progress(self, stage: StageName) -> StageProgress:
        """Return whether a stage that has finished nothing for a while makes progress."""
        ...

    async def replicas(self) -> dict[StageName, int]:
        """Return how many replicas of each stage answer; a stage that cannot be counted now is left out."""
        ...


StageResult = TypeVar(
    "StageResult",
    PreparedAudio,
    WindowMel,
    EncodedWindow,
    DetectedLanguage,
    DecodedWindow,
    DecodedVoice,
    Diarized,
)
"""What a stage call returns; each has the ``timing`` of the call."""
