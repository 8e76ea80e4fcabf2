"""Stages that compute nothing and do as they are told, for tests of everything around them."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from deployments.shared.contracts import (
    Area,
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
    SlotArray,
    Speaker,
    SpeakerOptions,
    SpeechOptions,
    SpooledBlob,
    StageName,
    StageProgress,
    StageTiming,
    Ticket,
    TokenLogprob,
    Transcript,
    Turn,
    Window,
    WindowMel,
)
from deployments.shared.errors import StageLostError

TIMING = StageTiming(0.0, 0.001, 1, "replica", "cpu:test")
PCM = SpooledBlob("/nonexistent/pcm")
HANGS = StageProgress(stalled_s=math.inf, budget_s=0.0)


async def at_once(_: int) -> None:
    """No delay."""


@dataclass
class ScriptedStages:
    """Windows of one second; the text of window i is its number. ``delay(i)`` runs before window i's text.

    Attributes:
        texts: of the windows, where they are not their numbers.
        likeliest: the language of each window and its probability; German for sure where there is none.
        silent: windows in which the voice detection heard nobody.
        detected: windows that were asked for their language, in the order of the calls.
        among: languages that each detected one had to be among, in the order of the calls.
        languages: that each window was decoded in, in the order of the calls.
        speech: options of the latest preparation.
        options: of each window's latest decoding.
        voices: recordings of known voices that were decoded.
        speaker_options: of the latest diarization.
        diarizing: runs before speakers are told apart.
        replica_counts: how many replicas of each stage answer.
    """

    windows: int = 1
    delay: Callable[[int], Awaitable[None]] = at_once
    likeliest: dict[int, tuple[str, float]] = field(default_factory=dict)
    silent: frozenset[int] = frozenset()
    texts: list[str] = field(default_factory=list)
    detected: list[int] = field(default_factory=list)
    among: list[tuple[str, ...]] = field(default_factory=list)
    languages: list[str | None] = field(default_factory=list)
    speech: SpeechOptions = field(init=False)
    options: dict[int, DecodeOptions] = field(default_factory=dict)
    priorities: list[int] = field(default_factory=list)
    voices: list[BlobRef] = field(default_factory=list)
    speaker_options: SpeakerOptions = field(default_factory=SpeakerOptions)
    diarizing: Callable[[int], Awaitable[None]] = at_once
    replica_counts: dict[StageName, int] = field(default_factory=lambda: {"mel": 1, "encoder": 1, "decoder": 1})
    running: int = 0
    most_running: int = 0

    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        del upload
        self.speech = options
        windows = tuple(self._window(index) for index in range(self.windows))
        first = self._array(ticket) if windows else None
        return PreparedAudio(float(self.windows), windows, PCM if windows else None, first, TIMING)

    async def log_mel(self, ticket: Ticket, pcm: BlobRef, window: Window) -> WindowMel:
        del pcm, window
        return WindowMel(self._array(ticket), TIMING)

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        del log_mel
        return EncodedWindow(SlotArray(ticket.slot, ticket.generation, Area.ENCODER_STATES, (50, 4)), TIMING)

    async def detect_language(
        self, ticket: Ticket, states: ArrayRef, window: Window, among: tuple[str, ...]
    ) -> DetectedLanguage:
        del ticket, states
        self.detected.append(window.index)
        self.among.append(among)
        return DetectedLanguage(*self.likeliest.get(window.index, ("de", 1.0)), TIMING)

    async def decode(
        self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
    ) -> DecodedWindow:
        del states, pcm
        self.priorities.append(ticket.priority)
        self.languages.append(options.language)
        self.options[window.index] = options
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.delay(window.index)
        finally:
            self.running -= 1
        text = self.texts[window.index] if self.texts else str(window.index)
        logprobs = (TokenLogprob(f" {text}", -0.5),) if options.logprobs else ()
        language = options.language or "de"
        transcript = Transcript(text, (1,), language, 1.0, -0.1, 0.0, 1.0, 0.0, logprobs=logprobs)
        return DecodedWindow(transcript, TIMING)

    async def decode_voice(self, ticket: Ticket, recording: BlobRef) -> DecodedVoice:
        del ticket
        self.voices.append(recording)
        return DecodedVoice(PCM, 48_000, TIMING)

    async def diarize(self, ticket: Ticket, pcm: BlobRef, samples: int, options: SpeakerOptions) -> Diarized:
        """Let two speakers take turns of one window each; the first of them are those who are known."""
        del ticket, pcm, samples
        self.speaker_options = options
        await self.diarizing(0)
        names = [*(voice.name for voice in options.known), None, None]
        embedding = (1.0, 0.0) if options.embeddings else ()
        turns = tuple(Turn(float(index), index + 1.0, index % 2) for index in range(self.windows))
        return Diarized(tuple(Speaker(name, -20.0, embedding) for name in names[:2]), turns, TIMING)

    async def encoder_health(self) -> EncoderHealth:
        return EncoderHealth(TIMING.device, "healthy")

    async def progress(self, _stage: StageName) -> StageProgress:
        """Who finishes nothing hangs."""
        return HANGS

    async def replicas(self) -> dict[StageName, int]:
        return dict(self.replica_counts)

    def _window(self, index: int) -> Window:
        speech = () if index in self.silent else ((float(index), index + 1.0),)
        return Window(index, float(index), index + 1.0, speech)

    @staticmethod
    def _array(ticket: Ticket) -> SlotArray:
        return SlotArray(ticket.slot, ticket.generation, Area.LOG_MEL, (80, 100))


class LosingStages(ScriptedStages):
    """The first encoder call is lost."""

    lost = False

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        if not self.lost:
            self.lost = True
            raise StageLostError("gone")
        return await super().encode(ticket, log_mel)
