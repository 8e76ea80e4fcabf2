"""One utterance: its text while it is spoken, and its whole text when it is complete."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

from deployments.ingress.live.configuration import UtteranceForm
from deployments.ingress.live.events import LiveSegment, LiveWord, Logprob, TranscriptCompleted
from deployments.ingress.live.local_agreement import LocalAgreement
from deployments.ingress.live.outbox import Outbox
from deployments.ingress.live.session_voices import SessionVoices
from deployments.ingress.live.timeline import Timeline
from deployments.ingress.transcript.segments import Segment
from deployments.ingress.transcription import Transcription
from deployments.shared.contracts import TokenLogprob, Word
from deployments.shared.errors import AmanuensisError
from deployments.shared.frames import SAMPLE_RATE

FIRST: Final = 8 * SAMPLE_RATE // 10  # samples: of less audio the model writes what nobody said
STEP: Final = 35 * SAMPLE_RATE // 100  # samples of new audio that are worth another transcription
PAUSE: Final = SAMPLE_RATE // 5  # samples: in a pause this long no word is cut, so that it is worth one too
SPARED: Final = 5 * SAMPLE_RATE // 2  # samples of stable text that are worth not to be transcribed again


class Draft(NamedTuple):
    """The text of an utterance so far.

    Attributes:
        text: may be in doubt, most of all its last word.
        language: ISO code of the language that it is surely in; None where that is in doubt.
        tokens: of the text; empty where nobody knows how sure they are.
    """

    text: str
    language: str | None
    tokens: tuple[TokenLogprob, ...] = ()


class EarlyText(NamedTuple):
    """The whole text of an utterance that may be complete.

    Attributes:
        whole: its text.
        accept: count it as the utterance's; to be called once it turns out that nothing follows.
    """

    whole: Transcription
    accept: Callable[[], None]


class Transcribes(Protocol):
    """Finds texts; ``deployments.ingress.live.transcriber`` is the one that asks the graph."""

    @property
    def longest_s(self) -> float:
        """Seconds of audio that the model hears at once."""
        ...

    def check(self, form: UtteranceForm) -> tuple[str, ...]:
        """Reject what the model cannot do; return what is not honoured, in whole sentences."""
        ...

    async def partial(self, request_id: str, form: UtteranceForm, pcm: bytes) -> Draft | None:
        """Return the text of an utterance so far, if there is one in time."""
        ...

    async def early(self, request_id: str, form: UtteranceForm, pcm: bytes) -> EarlyText | None:
        """Return what was said in an utterance that may be complete, if there is a text in time."""
        ...

    async def whole(self, request_id: str, form: UtteranceForm, pcm: bytes) -> Transcription:
        """Return what was said in an utterance."""
        ...


class _Pause(NamedTuple):
    """A pause in an utterance: where it is, and how many words the transcription has that ends in it."""

    at: int
    words: int


class Utterance:
    """Tells the text of one item.

    A transcription of a part begins in the last pause before which all words are stable: what is told is not
    transcribed again and again. The last one is of the whole utterance, and its text is the item's: where it knows
    better than a word that was told, it says so. Most pauses are the end of an utterance: that text is looked for as
    soon as one begins, and there when it is one.

    Attributes:
        id: of the item.
        start: where it begins, in samples from the start of the session.
    """

    def __init__(
        self,
        item_id: str,
        start: int,
        form: UtteranceForm,
        transcriber: Transcribes,
        outbox: Outbox,
        voices: SessionVoices,
    ) -> None:
        self.id = item_id
        self.start = start
        self._form = form
        self._draft_form = form
        self._language: str | None = None
        self._transcriber = transcriber
        self._outbox = outbox
        self._voices = voices
        self._agreement = LocalAgreement()
        self._partial: asyncio.Task[None] | None = None
        self._partials = 0
        self._early: EarlyText | None = None
        self._early_end: int | None = None
        self._partial_s = 0.0
        self._seen = start
        self._begin = start
        self._pause: _Pause | None = None

    def hear(self, timeline: Timeline, end: int, speech_end: int) -> None:
        """Transcribe the utterance so far, if that may tell more than the last time. One transcription at a time.

        Args:
            timeline: holds its audio.
            end: of what was heard.
            speech_end: of what was spoken.
        """
        if not self._is_due(end, speech_end):
            return
        self._seen = end
        self._partials += 1
        may_be_cut = end - speech_end < PAUSE
        pause_at = None if may_be_cut else speech_end + PAUSE // 2
        pcm = timeline.between(self._begin, end)
        self._early = self._early_end = None
        if pause_at is not None and self._may_be_complete:
            self._early_end = end
            self._partial = asyncio.create_task(self._tell_early(pcm, pause_at))
        else:
            self._partial = asyncio.create_task(self._tell_partial(pcm, pause_at))

    async def finish(self, pcm: bytes, sound_end: int | None) -> AmanuensisError | None:
        """Tell the whole text, or that there is none; return why there is none.

        Args:
            pcm: all audio of the utterance, 16 kHz mono int16.
            sound_end: of what may be speech in it; None where that is not known.
        """
        try:
            whole = await self._whole(pcm, sound_end)
        except AmanuensisError as error:
            self.fail(error)
            return error
        self._tell_more(self._agreement.finish(whole.text))
        self._outbox.put(self._completed(whole, len(pcm) / 2 / SAMPLE_RATE))
        return None

    def fail(self, error: AmanuensisError) -> None:
        """Tell that the utterance has no text."""
        self._outbox.put(
            {
                "type": "conversation.item.input_audio_transcription.failed",
                "item_id": self.id,
                "content_index": 0,
                "error": error.body()["error"],
            }
        )

    async def give_up(self) -> None:
        """End the transcription of a part, if one is under way."""
        if self._partial is not None:
            self._partial.cancel()
            await asyncio.gather(self._partial, return_exceptions=True)

    @property
    def _may_be_complete(self) -> bool:
        """Whether its whole text is worth looking for in a pause, which may be its end.

        Not where its beginning is not transcribed any more, nor where telling speakers apart takes much longer.
        """
        return self._begin == self.start and not self._form.speakers

    async def _whole(self, pcm: bytes, sound_end: int | None) -> Transcription:
        """Return the whole text: that which the last pause has, if nothing may have been spoken behind its audio.

        Raises:
            AmanuensisError: there is none.
        """
        holds = sound_end is not None and self._early_end is not None and sound_end <= self._early_end
        if holds and self._partial is not None:
            await self._partial
        else:
            await self.give_up()
            self._early = None
        if self._early is not None:
            self._early.accept()
            return self._early.whole
        return await self._transcriber.whole(self.id, self._form, pcm)

    def _is_due(self, end: int, speech_end: int) -> bool:
        is_busy = self._partial is not None and not self._partial.done()
        if is_busy or end - self.start < FIRST or self._seen >= speech_end + PAUSE:
            return False
        # Where the service is slow, it has as much time for everything else as this takes.
        step = max(STEP, round(self._partial_s * SAMPLE_RATE))
        return end - self._seen >= step or end - speech_end >= PAUSE

    async def _tell_early(self, pcm: bytes, pause_at: int) -> None:
        """Find the whole text, for the case that nothing follows, and tell what becomes stable."""
        self._early = await self._transcriber.early(self.id, self._form, pcm)
        if self._early is not None:
            self._tell_stable(Draft(self._early.whole.text, None), pause_at)

    async def _tell_partial(self, pcm: bytes, pause_at: int | None) -> None:
        """Tell what becomes stable.

        Args:
            pcm: the part of the utterance that is transcribed.
            pause_at: the pause that it ends in; None where a word may be cut.
        """
        began = time.monotonic()
        draft = await self._transcriber.partial(f"{self.id}.{self._partials}", self._draft_form, pcm)
        self._partial_s = time.monotonic() - began
        if draft is not None:
            self._note_language(draft.language)
            self._tell_stable(draft, pause_at)

    def _tell_stable(self, draft: Draft, pause_at: int | None) -> None:
        tokens = () if draft.language is None else draft.tokens
        self._tell_more(self._agreement.add(draft.text, may_be_cut=pause_at is None, tokens=tokens))
        self._leave_what_is_told()
        if pause_at is not None and pause_at - self._begin >= SPARED:
            self._pause = _Pause(pause_at, self._agreement.words)

    def _note_language(self, language: str | None) -> None:
        """Have later parts transcribed in the language on which two drafts in a row agree: detecting it takes time."""
        if language is not None and language == self._language and self._draft_form.language is None:
            self._draft_form = self._form.model_copy(update={"language": language})
        self._language = language

    def _leave_what_is_told(self) -> None:
        """Begin the next transcription in the last pause, if a word behind it is stable: so is all before it then."""
        if self._pause is not None and self._agreement.stable_words > self._pause.words:
            self._begin = self._pause.at
            self._agreement.leave(self._pause.words)
            self._pause = None

    def _tell_more(self, text: str) -> None:
        if text:
            self._outbox.put(
                {
                    "type": "conversation.item.input_audio_transcription.delta",
                    "item_id": self.id,
                    "content_index": 0,
                    "delta": text,
                }
            )

    def _completed(self, whole: Transcription, seconds: float) -> TranscriptCompleted:
        document: TranscriptCompleted = {
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": self.id,
            "content_index": 0,
            "transcript": whole.text,
            "usage": {"type": "duration", "seconds": round(seconds, 3)},
        }
        if self._form.asks_for_languages:
            document["languages"] = [{"code": code} for code in whole.languages]
        if self._form.wants_logprobs:
            document["logprobs"] = _logprobs(whole)
        labels = {} if whole.speakers is None else self._voices.labels(whole.speakers)
        if self._form.words:
            document["words"] = _words(whole, self.start / SAMPLE_RATE, labels)
        if self._form.speakers:
            document["segments"] = _segments(whole, self.start / SAMPLE_RATE, labels)
        return document


def _logprobs(whole: Transcription) -> list[Logprob]:
    return [{"token": each.text, "bytes": [*each.text.encode()], "logprob": each.logprob} for each in whole.logprobs]


def _words(whole: Transcription, start_s: float, labels: Mapping[str, str]) -> list[LiveWord]:
    words: list[LiveWord] = []
    for word, speaker in whole.words:
        start, end = _times(start_s, word)
        words.append({"word": word.text.strip(), "start": start, "end": end})
        if speaker is not None:
            words[-1]["speaker"] = labels[speaker]
    return words


def _segments(whole: Transcription, start_s: float, labels: Mapping[str, str]) -> list[LiveSegment]:
    segments: list[LiveSegment] = []
    for segment in whole.segments:
        start, end = _times(start_s, segment)
        segments.append({"text": segment.text, "start": start, "end": end})
        if segment.speaker is not None:
            segments[-1]["speaker"] = labels[segment.speaker]
    return segments


def _times(start_s: float, timed: Word | Segment) -> tuple[float, float]:
    """Return from when to when something is said, in seconds from the start of all audio."""
    return round(start_s + timed.start_s, 3), round(start_s + timed.end_s, 3)
