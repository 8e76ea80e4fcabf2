"""Diarizer: beside the graph. Decoded audio -> who speaks when."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
from numpy.typing import NDArray
from ray import serve

from deployments.diarizer.diarization import Diarization, Progressed
from deployments.diarizer.known_voices import named
from deployments.diarizer.listener import Listener
from deployments.diarizer.loading import load_listener
from deployments.shared.contracts import (
    BlobRef,
    Diarized,
    Speaker,
    SpeakerOptions,
    StageProgress,
    StageTiming,
    Ticket,
)
from deployments.shared.cpu_priority import BACKGROUND_NICENESS, give_way_to_ingress
from deployments.shared.errors import DeadlineExceededError, RequestCancelledError, SpeakersUnavailableError
from deployments.shared.frames import SAMPLE_RATE
from deployments.shared.lanes import Lanes
from deployments.shared.memory.handoff import is_kept, map_pcm
from deployments.shared.replica_name import replica_name
from deployments.shared.settings import Settings
from deployments.shared.threads import WatchedThreads
from deployments.shared.watchdog import ProgressWatch

SHORT_S = 120.0
"""Seconds up to which a recording is a short one, which no long one keeps waiting."""

SLACK = 5.0
"""How many times slower than the slowest step seen the next one may be: the stages of the graph go first."""


@serve.deployment
class Diarizer:
    """A replica on the CPU that gives way to the stages of the graph: it delays nobody who did not ask for speakers."""

    def __init__(self, settings: Settings) -> None:
        give_way_to_ingress(BACKGROUND_NICENESS)
        self._listener = _listener(settings)
        self._watch = ProgressWatch(settings.diarizer_budget_s, SLACK)
        threads = settings.diarizer_threads
        self._lanes = Lanes(WatchedThreads(threads, "diarizer", self._watch), threads)
        self._replica = replica_name()
        self._watch.learn(0.0)

    async def diarize(self, ticket: Ticket, pcm: BlobRef, samples: int, options: SpeakerOptions) -> Diarized:
        """Find out who speaks when. A request that is given up ends it at the next step.

        Raises:
            DeadlineExceededError: the deadline passed meanwhile.
            RequestCancelledError: the request was given up.
        """
        asked, given_up = time.monotonic(), threading.Event()
        is_long = samples > SHORT_S * SAMPLE_RATE
        work = _Work(ticket, pcm, samples, options, given_up)
        try:
            return await self._lanes(lambda: self._diarize(work, asked), ticket.priority, is_long=is_long)
        except asyncio.CancelledError:
            given_up.set()
            raise

    async def progress(self) -> StageProgress:
        """Return whether the work of this replica makes progress."""
        return self._watch.progress()

    async def check_health(self) -> None:
        """Raise an error when a thread hangs, so that Serve replaces this replica."""
        self._watch.check_progress()

    def _diarize(self, work: _Work, asked: float) -> Diarized:
        began = time.monotonic()
        work.check()
        with self._watch.work() as watched:

            def progressed() -> None:
                watched.progressed()
                work.check()

            listener, options = _loaded(self._listener), work.options
            audio = map_pcm(work.pcm, work.samples)
            found = listener.diarize(audio, options.fewest, options.most, progressed)
            found, names = _named(listener, found, options, progressed)
        timing = StageTiming(began - asked, time.monotonic() - began, 1, self._replica, listener.name)
        return Diarized(_speakers(found, names, options), tuple(found.turns), timing)


def _listener(settings: Settings) -> Listener | SpeakersUnavailableError:
    """Return what listens, or why nothing does: Serve would start a replica that raises it again and again."""
    try:
        return load_listener(settings.diarization_model, settings.hub_token)
    except SpeakersUnavailableError as error:
        return error


def _loaded(listener: Listener | SpeakersUnavailableError) -> Listener:
    if isinstance(listener, SpeakersUnavailableError):
        raise listener
    return listener


def _named(
    listener: Listener, found: Diarization, options: SpeakerOptions, progressed: Progressed
) -> tuple[Diarization, list[str | None]]:
    if not options.known:
        return found, [None] * len(found.voices)
    voices = []
    for sample in options.known:
        voices.append(listener.voice(map_pcm(sample.pcm, sample.samples)))
        progressed()
    return named(found, [sample.name for sample in options.known], np.stack(voices))


class _Work:
    """What is asked for, and whether anybody still waits for it."""

    def __init__(
        self, ticket: Ticket, pcm: BlobRef, samples: int, options: SpeakerOptions, given_up: threading.Event
    ) -> None:
        self.pcm, self.samples, self.options = pcm, samples, options
        self._ticket = ticket
        self._given_up = given_up

    def check(self) -> None:
        """Raise an error if nobody waits any more."""
        if self._ticket.is_late:
            raise DeadlineExceededError.before("the speakers were told apart")
        if self._given_up.is_set() or not is_kept(self.pcm):
            raise RequestCancelledError.given_up()


def _speakers(found: Diarization, names: list[str | None], options: SpeakerOptions) -> tuple[Speaker, ...]:
    def embedding(voice: NDArray[np.float32]) -> tuple[float, ...]:
        return tuple(map(float, voice)) if options.embeddings else ()

    each = zip(names, found.levels_db, found.voices, strict=True)
    return tuple(Speaker(name, level_db, embedding(voice)) for name, level_db, voice in each)
