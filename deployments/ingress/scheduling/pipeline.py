"""Drives one request through the graph: audio -> windows -> log-mel -> encoder states -> text, window by window.

Knows no Ray: the stages are whatever implements ``Stages``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from deployments.ingress.request import Priority, Request
from deployments.ingress.scheduling.admission import Admission
from deployments.ingress.scheduling.graph import Graph
from deployments.ingress.scheduling.queues import Entry, Rest
from deployments.ingress.scheduling.slots import Lease
from deployments.ingress.scheduling.speakers import SpeakerSearch, SpeakersFound
from deployments.ingress.scheduling.stage_calls import Hold
from deployments.ingress.scheduling.window_languages import WindowLanguages
from deployments.ingress.telemetry.record import QUEUE, RequestRecord, Step
from deployments.ingress.transcript.joining import join_transcripts, rest_of
from deployments.ingress.transcript.language_choice import LanguageChoice, choose_language
from deployments.ingress.transcript.placing import place_words
from deployments.ingress.work import Work
from deployments.shared.contracts import (
    ArrayRef,
    DecodeOptions,
    DetectedLanguage,
    PreparedAudio,
    Ticket,
    Transcript,
    Window,
    shared_now,
)

MAX_RESTS = 6
"""Rests of one window that are decoded at most: 30 s of fast Tamil need three, each pause may need one."""

ChooseOptions = Callable[[Hold, ArrayRef], Awaitable[DecodeOptions]]
"""Finds what to decode a window with, once its encoder states lie in the slot that is held."""


@dataclass(frozen=True, slots=True)
class AudioReady:
    """The first event: what the audio holds, and what of it could not be read."""

    duration_s: float
    windows: tuple[Window, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WindowDone:
    """One event per window, in order: its whole text, word times inside it, and the device that encoded it."""

    window: Window
    transcript: Transcript
    encoder_device: str


Events = AsyncGenerator[AudioReady | WindowDone | SpeakersFound]


class Pipeline:
    """Takes requests through the graph. One per ingress; safe for any number of concurrent requests.

    Args:
        max_windows_in_flight: of one request; so many are served in its turn.
        slab_path: of the slab; None where arrays travel through the object store.
    """

    def __init__(
        self, graph: Graph, admission: Admission, *, max_windows_in_flight: int, slab_path: str | None
    ) -> None:
        self.graph = graph
        self.admission = admission
        self.max_windows_in_flight = max_windows_in_flight
        self.slab_path = slab_path

    def run(self, request: Request, work: Work, record: RequestRecord, entry: Entry) -> Events:
        """Yield ``AudioReady``, then each window's text in order, each as soon as it and all before it are known.

        Raises:
            DeadlineExceededError: no slot, or no text, in time.
            AmanuensisError: what a stage raised.
        """
        return _Passage(self, request, work, record).run(entry)


class _Passage:
    """One request on its way through the graph.

    Attributes:
        deadline: absolute, in seconds of the monotonic clock; as far as it is known before the audio is decoded.
        rest: windows that have not asked for a slot; None before they are known.
        languages: of its windows; None where the language is named, or one window is all.
    """

    def __init__(self, pipeline: Pipeline, request: Request, work: Work, record: RequestRecord) -> None:
        self._admission = pipeline.admission
        self._graph = pipeline.graph
        self._stages = pipeline.graph.stages
        self._turn = pipeline.max_windows_in_flight
        self._slab_path = pipeline.slab_path
        self._request = request
        self._work = work
        self._record = record
        self._deadline = request.time_limit.deadline()
        self._rest: Rest | None = None
        self._languages: WindowLanguages | None = None
        self._speakers: SpeakerSearch | None = None

    async def run(self, entry: Entry) -> Events:
        lease = await self._first_slot(entry)
        self._record.queue_s = entry.waited_s
        try:
            upload, speech = self._work.upload, self._work.speech
            hold = self._hold(lease, 0)
            prepared = await self._graph.mel.call_now(hold, self._stages.prepare, upload, speech)
            self._begin(prepared)
            yield AudioReady(prepared.duration_s, prepared.windows, prepared.warnings)
            if prepared.first is None:
                return
            search = self._search(prepared)
            async with aclosing(self._windows(prepared, lease)) as results:
                async for result in results:
                    if search is not None and search.done():
                        yield await search
                        search = None
                    yield result
            if search is not None:
                yield await search
        finally:
            lease.close()
            if self._speakers is not None:
                await self._speakers.close()
            if self._rest is not None:
                self._admission.end(self._rest)

    def _search(self, prepared: PreparedAudio) -> asyncio.Task[SpeakersFound] | None:
        """Begin to tell the speakers apart, if somebody asked: it goes on beside the windows."""
        if self._work.speakers is None:
            return None
        self._speakers = SpeakerSearch(self._graph, self._request, self._record, self._deadline)
        return self._speakers.begin(self._work.speakers, prepared)

    def _begin(self, prepared: PreparedAudio) -> None:
        """Give the request the deadline that its audio allows, if that can be kept.

        Raises:
            TimeoutTooShortError, OverloadedError: it cannot.
        """
        windows = len(prepared.windows)
        self._record.audio_s, self._record.windows = prepared.duration_s, windows
        self._deadline = self._request.time_limit.deadline(prepared.channels * prepared.duration_s)
        turn = min(windows, self._turn)
        self._rest = self._admission.begin(self._request.priority, windows, turn, self._deadline)
        if self._work.detect_language and windows > 1:
            self._languages = WindowLanguages(windows, self._work.decode.language_before)

    async def _windows(self, prepared: PreparedAudio, first: Lease) -> AsyncGenerator[WindowDone]:
        """Yield each window's text. Those begun and not yet yielded are a turn at most: a slow reader holds no slots.

        Args:
            prepared: the audio.
            first: lease of the slot that holds the first window's log-mel.
        """
        begun: deque[asyncio.Task[WindowDone]] = deque()
        try:
            for window in prepared.windows:
                lease = None if window.index else first
                begun.append(asyncio.create_task(self._whole_window(prepared, window, lease)))
                if len(begun) >= self._turn:
                    yield await begun[0]
                    begun.popleft()
            while begun:
                yield await begun[0]
                begun.popleft()
        finally:
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    async def _whole_window(self, prepared: PreparedAudio, window: Window, lease: Lease | None) -> WindowDone:
        """Return the text of one window, and of what that text left out."""
        lease = lease or await self._next_slot(window)
        begun = await self._piece(prepared, window, partial(self._options, window), lease)
        language = begun.transcript.language
        parts, rest = [begun.transcript], rest_of(window, begun.transcript)
        while rest is not None and len(parts) <= MAX_RESTS:
            lease = await self._next_slot(rest, is_again=True)
            piece = await self._piece(prepared, rest, partial(self._options_of_rest, rest, language), lease)
            if not piece.transcript.text:
                break
            parts.append(piece.transcript)
            rest = rest_of(rest, piece.transcript)
        transcript = join_transcripts(parts)
        words = place_words(transcript.words, window.start_s, window.end_s)
        return replace(begun, window=window, transcript=replace(transcript, words=words))

    async def _piece(self, prepared: PreparedAudio, window: Window, options: ChooseOptions, lease: Lease) -> WindowDone:
        """Return the text of a window, or of the rest of one.

        If only a part of the 30 s was encoded, and no good text came of it, all of them are.
        """
        done = await self._attempt(prepared, window, options, lease)
        if not done.transcript.needs_full_window:
            return done
        lease = await self._next_slot(window, is_again=True)
        again = partial(self._options_again, done.transcript.language)
        return await self._attempt(prepared, replace(window, in_full=True), again, lease)

    async def _attempt(
        self, prepared: PreparedAudio, window: Window, options: ChooseOptions, lease: Lease
    ) -> WindowDone:
        """Take a window through the stages once.

        Each attempt has a slot of its own: a late call for the one never meets the other's arrays.
        """
        graph, stages = self._graph, self._stages
        hold = self._hold(lease, window.index)
        try:
            log_mel = await self._log_mel(hold, window, prepared)
            encoded = await graph.encoder(hold, stages.encode, log_mel)
            self._record.device = encoded.timing.device
            chosen = await options(hold, encoded.states)
            decoded = await graph.decoder(hold, stages.decode, encoded.states, window, chosen, prepared.pcm)
            return WindowDone(window, decoded.transcript, encoded.timing.device)
        finally:
            lease.close()

    async def _log_mel(self, hold: Hold, window: Window, prepared: PreparedAudio) -> ArrayRef:
        """Return the log-mel. The first window's was computed with the preparation, no later one's and no rest's."""
        if prepared.first is not None and window is prepared.windows[0]:
            return prepared.first
        if prepared.pcm is None:
            raise ValueError("a later window needs the decoded audio")
        mel = await self._graph.mel(hold, self._stages.log_mel, prepared.pcm, window)
        return mel.log_mel

    async def _options(self, window: Window, hold: Hold, states: ArrayRef) -> DecodeOptions:
        """Return what to decode a window with.

        A window alone is not asked for its language first: decoding finds it.
        """
        if self._languages is None:
            return self._work.decode
        if window.speech == ():
            return self._in_language(await self._languages.choose_for_silence(window.index))
        detect = partial(self._detect, hold, window, states)
        return self._in_language(await self._languages.choose(window.index, detect))

    async def _options_of_rest(self, rest: Window, language: str, hold: Hold, states: ArrayRef) -> DecodeOptions:
        """Return what to decode a rest with: perhaps the speaker went on in another language."""
        if not self._work.detect_language:
            return self._work.decode
        return self._in_language(choose_language(await self._detect(hold, rest, states), language))

    async def _options_again(self, language: str, hold: Hold, states: ArrayRef) -> DecodeOptions:  # noqa: ARG002
        """Return what to decode a window with that was decoded before, in ``language``.

        Where several windows choose their languages together, this one has chosen.
        """
        return self._work.decode if self._languages is None else self._in_language(LanguageChoice(language))

    async def _detect(self, hold: Hold, window: Window, states: ArrayRef) -> DetectedLanguage:
        among = self._work.decode.among
        return await self._graph.decoder(hold, self._stages.detect_language, states, window, among)

    def _in_language(self, choice: LanguageChoice | None) -> DecodeOptions:
        if choice is None:
            return self._work.decode
        return replace(self._work.decode, language=choice.language, other_language=choice.other)

    def _priority(self, window: int) -> Priority:
        """Return a window's priority: after its first turn a long file yields to who has had none."""
        priority = self._request.priority
        return priority if window < self._turn else priority.lower

    def _hold(self, lease: Lease, window: int) -> Hold:
        priority, slab = self._priority(window), self._slab_path
        deadline = shared_now(slab) + self._deadline - time.monotonic()
        ticket = Ticket(self._request.id, lease.slot, lease.generation, deadline, slab, priority)
        return Hold(lease, ticket, self._deadline, self._record, window)

    async def _first_slot(self, entry: Entry) -> Lease:
        return await self._timed(0, self._admission.first_slot(entry))

    async def _next_slot(self, window: Window, *, is_again: bool = False) -> Lease:
        """Return a slot for a window; ``is_again`` where it has had one before."""
        if self._rest is not None and not is_again:
            self._rest.windows -= 1
        in_turn = is_again or window.index < self._turn
        priority = self._priority(window.index)
        return await self._timed(window.index, self._admission.next_slot(priority, self._deadline, in_turn=in_turn))

    async def _timed(self, window: int, slot: Awaitable[Lease]) -> Lease:
        """Wait for a slot; the wait is a step of the request, also when it gets none."""
        began_at, began = time.time(), time.monotonic()
        try:
            return await slot
        finally:
            self._record.add(Step(QUEUE, window, began_at, time.monotonic() - began))
