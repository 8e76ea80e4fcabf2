"""The finished text of one request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeAlias

from deployments.ingress.request import Request
from deployments.ingress.scheduling.pipeline import AudioReady, Events, WindowDone
from deployments.ingress.scheduling.speakers import SpeakersFound
from deployments.ingress.transcript.joining import join_texts, join_turns
from deployments.ingress.transcript.language_choice import spoken_languages
from deployments.ingress.transcript.segments import Segment, split_segments
from deployments.ingress.transcript.speakers import Speakers
from deployments.ingress.work import answer_language
from deployments.shared.contracts import Task, TokenLogprob, Word
from deployments.shared.model.description import Model

Seen: TypeAlias = Callable[[AudioReady, Sequence[WindowDone]], None]
"""Told after each event what the audio holds, and which windows are done."""


@dataclass(slots=True)
class Findings:
    """What the graph found out about a request so far.

    Attributes:
        speakers: who speaks when; None where nobody asked, or it is not known yet.
    """

    audio: AudioReady = field(default_factory=lambda: AudioReady(0.0, ()))
    windows: list[WindowDone] = field(default_factory=list)
    speakers: Speakers | None = None

    def add(self, event: AudioReady | WindowDone | SpeakersFound) -> None:
        """Add what an event tells."""
        match event:
            case AudioReady():
                self.audio = event
            case WindowDone():
                self.windows.append(event)
            case SpeakersFound():
                self.speakers = Speakers(event.diarized)


async def collect(events: Events, seen: Seen = lambda _audio, _windows: None) -> Findings:
    """Return what the graph finds out about a request, once it is all known."""
    found = Findings()
    async with aclosing(events) as all_events:
        async for event in all_events:
            found.add(event)
            seen(found.audio, found.windows)
    return found


@dataclass(frozen=True, slots=True)
class Transcription:
    """All windows of one request.

    Attributes:
        duration_s: length of the audio in seconds.
        language: ISO code of the text.
        languages: ISO codes of the speech, that of most of it first.
        speakers: who speaks when, where voices were told apart; None elsewhere.
        device: ran the encoder; None where there was nothing to encode.
        warnings: what the client should know of this answer, in whole sentences.
    """

    task: Task
    duration_s: float
    language: str
    windows: Sequence[WindowDone]
    segments: Sequence[Segment]
    device: str | None
    warnings: Sequence[str] = ()
    languages: Sequence[str] = ()
    speakers: Speakers | None = None

    @classmethod
    def of(cls, request: Request, model: Model, found: Findings) -> Transcription:
        """Make the transcription of a request whose windows are all done."""
        audio, windows = found.audio, found.windows
        texts = [(item.window, item.transcript) for item in windows]
        return cls(
            task=request.task,
            duration_s=audio.duration_s,
            language=answer_language(request, model, texts),
            windows=windows,
            segments=split_segments(texts, speakers=found.speakers),
            device=windows[0].encoder_device if windows else None,
            languages=spoken_languages(texts),
            warnings=(*request.warnings, *audio.warnings),
            speakers=found.speakers,
        )

    @property
    def text(self) -> str:
        """The texts of all windows, joined; of separate channels, what is said, in its order."""
        if self.has_speakers and self.speakers is None:
            return join_texts(segment.text for segment in self.segments)
        return join_texts(window.transcript.text for window in self.windows)

    @property
    def lines(self) -> str:
        """The text as people read it: where it is known who speaks, a line for each turn with the name before it."""
        if not self.has_speakers:
            return self.text
        return join_turns((segment.speaker, segment.text) for segment in self.segments)

    @property
    def has_speakers(self) -> bool:
        """Whether it is known who says what."""
        return any(segment.speaker for segment in self.segments)

    @property
    def logprobs(self) -> tuple[TokenLogprob, ...]:
        """The log probabilities of all tokens, in the order of their windows; empty unless these were asked for."""
        return tuple(token for window in self.windows for token in window.transcript.logprobs)

    @property
    def words(self) -> list[tuple[Word, str | None]]:
        """All words in their order, and who says each."""
        if self.has_speakers:
            return [(word, segment.speaker) for segment in self.segments for word in segment.words]
        return [(word, None) for window in self.windows for word in window.transcript.words]
