"""The finished text of one request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

from deployments.ingress.request import Request
from deployments.ingress.scheduling.pipeline import AudioReady, Events, WindowDone
from deployments.ingress.transcript.joining import join_texts
from deployments.ingress.transcript.language_choice import spoken_languages
from deployments.ingress.transcript.segments import Segment, split_segments
from deployments.ingress.work import answer_language
from deployments.shared.contracts import Task, Word
from deployments.shared.model.description import Model

Seen: TypeAlias = Callable[[AudioReady, Sequence[WindowDone]], None]
"""Told after each event what the audio holds, and which windows are done."""


async def collect(events: Events, seen: Seen = lambda _audio, _windows: None) -> tuple[AudioReady, list[WindowDone]]:
    """Return what the graph finds out about a request, once it is all known."""
    audio, windows = AudioReady(0.0, ()), list[WindowDone]()
    async with aclosing(events) as all_events:
        async for event in all_events:
            if isinstance(event, AudioReady):
                audio = event
            else:
                windows.append(event)
            seen(audio, windows)
    return audio, windows


@dataclass(frozen=True, slots=True)
class Transcription:
    """All windows of one request.

    Attributes:
        duration_s: length of the audio in seconds.
        language: ISO code of the text.
        languages: ISO codes of the speech, that of most of it first.
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

    @classmethod
    def of(cls, request: Request, model: Model, audio: AudioReady, windows: Sequence[WindowDone]) -> Transcription:
        """Make the transcription of a request whose windows are all done."""
        texts = [(item.window, item.transcript) for item in windows]
        return cls(
            task=request.task,
            duration_s=audio.duration_s,
            language=answer_language(request, model, texts),
            windows=windows,
            segments=split_segments(texts),
            device=windows[0].encoder_device if windows else None,
            languages=spoken_languages(texts),
            warnings=(*request.warnings, *audio.warnings),
        )

    @property
    def text(self) -> str:
        """The texts of all windows, joined; of separate channels, what is said, in its order."""
        if self.has_speakers:
            return join_texts(segment.text for segment in self.segments)
        return join_texts(window.transcript.text for window in self.windows)

    @property
    def has_speakers(self) -> bool:
        """Whether it is known who says what."""
        return any(segment.speaker for segment in self.segments)

    @property
    def words(self) -> list[tuple[Word, str | None]]:
        """All words in their order, and who says each."""
        if self.has_speakers:
            return [(word, segment.speaker) for segment in self.segments for word in segment.words]
        return [(word, None) for window in self.windows for word in window.transcript.words]
