"""Stages that write real data into real slots and fail in every way a cluster can."""

import asyncio
import enum
import math
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import numpy as np

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
    SpeakerOptions,
    SpeechOptions,
    StageName,
    StageProgress,
    StageTiming,
    Ticket,
    Transcript,
    Window,
    WindowMel,
)
from deployments.shared.errors import InternalError, StageLostError
from deployments.shared.memory.handoff import Handoff, load_pcm
from deployments.shared.memory.slab import Float32, SlabLayout

T = TypeVar("T")

LAYOUT = SlabLayout(slots=4, n_mels=4, n_frames=8, n_states=4, d_model=8)
SHAPE = (4, 8)
TIMING = StageTiming(0.0, 0.001, 1, "replica", "cpu:test")
TORN = -1.0
WINDOWS_A_REQUEST = 100
REST = 0.5  # added to the number of a window


class Fate(enum.Enum):
    """What becomes of one call."""

    WELL = 85
    DIES = 4  # the process ends in the middle; the call fails
    PRESUMED_DEAD = 6  # the call fails, the process works on
    DELIVERED_LATE = 5  # the call fails, the process begins only afterwards


def mark(request_id: str, window: int) -> float:
    """The number that fills every array of one window, and is its text."""
    return float(int(request_id) * WINDOWS_A_REQUEST + window)


class HostileStages:
    """Three replicas of everything.

    Attributes:
        windows: of each request, by its id.
        violations: what must never happen.
        fates: how often each fate struck.
    """

    def __init__(self, chance: random.Random) -> None:
        self.windows: dict[str, int] = {}
        self.violations: list[str] = []
        self.fates: Counter[Fate] = Counter()
        self.strays: set[asyncio.Task[Any]] = set()
        self.last_generation = [0] * LAYOUT.slots
        self._chance = chance
        self._replicas = [Handoff() for _ in range(3)]
        self._slow: set[asyncio.Task[Any] | None] = set()
        self._lost: set[Ticket] = set()
        self._calls: list[Counter[int]] = [Counter() for _ in range(LAYOUT.slots)]
        self.calm = False

    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        del options
        count = self.windows[ticket.request_id]
        if not count:
            return PreparedAudio(0.0, (), None, None, TIMING)
        windows = tuple(Window(index, float(index), index + 1.0) for index in range(count))
        first, pcm = await self._call(ticket, lambda replica: self._first(replica, ticket, upload, count))
        return PreparedAudio(float(count), windows, pcm, first, TIMING)

    async def log_mel(self, ticket: Ticket, pcm: BlobRef, window: Window) -> WindowMel:
        async def later(replica: Handoff) -> ArrayRef:
            (sample,) = load_pcm(pcm, slice(window.index, window.index + 1))
            is_rest = window.start_s != window.index
            return await self._mel(replica, ticket, float(sample) + REST * is_rest)

        return WindowMel(await self._call(ticket, later), TIMING)

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        return EncodedWindow(await self._call(ticket, lambda replica: self._states(replica, ticket, log_mel)), TIMING)

    async def detect_language(
        self, ticket: Ticket, states: ArrayRef, window: Window, among: tuple[str, ...]
    ) -> DetectedLanguage:
        del window, among
        await self._call(ticket, lambda replica: self._text(replica, ticket, states))
        return DetectedLanguage("en", 1.0, TIMING)

    async def decode(
        self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
    ) -> DecodedWindow:
        del options, pcm
        text = await self._call(ticket, lambda replica: self._text(replica, ticket, states))
        is_rest = window.start_s != window.index
        rest_from_s = None if is_rest or self.calm or self._chance.random() < 0.7 else window.start_s + 0.5
        # What is missing is another number, so that the arrays of a window and of its rest must not be confused.
        transcript = Transcript(text, (1,), "en", 1.0, -0.1, 0.0, 1.0, 0.0, rest_from_s=rest_from_s)
        return DecodedWindow(transcript, TIMING)

    async def decode_voice(self, ticket: Ticket, recording: BlobRef) -> DecodedVoice:
        del ticket, recording
        raise AssertionError("nobody asks for speakers here")

    async def diarize(self, ticket: Ticket, pcm: BlobRef, samples: int, options: SpeakerOptions) -> Diarized:
        del ticket, pcm, samples, options
        raise AssertionError("nobody asks for speakers here")

    async def encoder_health(self) -> EncoderHealth:
        return EncoderHealth(TIMING.device, "healthy")

    async def progress(self, _stage: StageName) -> StageProgress:
        """Whether it gets on is a matter of luck, so requests are given up at any moment."""
        return StageProgress(0.0 if self.calm else self._chance.choice((0.0, math.inf)), 1.0)

    async def replicas(self) -> dict[StageName, int]:
        return {"mel": 1, "encoder": 1, "decoder": 1}

    async def _first(self, replica: Handoff, ticket: Ticket, upload: BlobRef, windows: int) -> tuple[ArrayRef, BlobRef]:
        log_mel = await self._mel(replica, ticket, mark(ticket.request_id, 0))
        samples = [mark(ticket.request_id, window) for window in range(windows)]
        pcm = replica.store_pcm(ticket, upload, np.array(samples, np.int16))
        await self._work()
        return log_mel, pcm

    async def _mel(self, replica: Handoff, ticket: Ticket, value: float) -> ArrayRef:
        replica.check_ticket(ticket)
        await self._work()
        with replica.output(ticket, Area.LOG_MEL, SHAPE) as array:
            await self._fill(array, value)
            return replica.publish(ticket, Area.LOG_MEL, array)

    async def _states(self, replica: Handoff, ticket: Ticket, log_mel: ArrayRef) -> ArrayRef:
        replica.check_ticket(ticket)
        mel = replica.input(ticket, log_mel)
        with replica.output(ticket, Area.ENCODER_STATES, SHAPE) as array:
            await self._fill(array, value := the_one_value(mel))
            if the_one_value(mel) != value:
                array[:] = TORN
            return replica.publish(ticket, Area.ENCODER_STATES, array)

    async def _text(self, replica: Handoff, ticket: Ticket, states: ArrayRef) -> str:
        replica.check_ticket(ticket)
        array = replica.input(ticket, states)
        seen = {the_one_value(array)}
        await self._work()
        seen.add(the_one_value(array))
        replica.check_ticket(ticket)
        return f"{seen.pop() if len(seen) == 1 else TORN:g}"

    async def _fill(self, array: Float32, value: float) -> None:
        for row in array:
            row[:] = value
            await self._work()

    async def _work(self) -> None:
        if self.calm:
            return
        if asyncio.current_task() in self._slow:
            await asyncio.sleep(self._chance.uniform(0, 0.3))
        else:
            await asyncio.sleep(self._chance.choice((0.0, 0.001, 0.01, 0.05)) if self._chance.random() < 0.97 else 1.0)
        if self._chance.random() < 0.01:
            raise InternalError("crashed half-way")

    async def _call(self, ticket: Ticket, work: Callable[[Handoff], Coroutine[Any, Any, T]]) -> T:
        self._enter(ticket)
        try:
            return await self._attempt(ticket, work)
        finally:
            self._calls[ticket.slot][ticket.generation] -= 1

    def _enter(self, ticket: Ticket) -> None:
        calls = self._calls[ticket.slot]
        if any(count for generation, count in calls.items() if generation != ticket.generation):
            self.violations.append(f"slot {ticket.slot} was granted while calls of its last owner were running")
        if ticket.generation < self.last_generation[ticket.slot]:
            self.violations.append(f"the generation of slot {ticket.slot} went back")
        self.last_generation[ticket.slot] = ticket.generation
        calls[ticket.generation] += 1

    async def _attempt(self, ticket: Ticket, work: Callable[[Handoff], Coroutine[Any, Any, T]]) -> T:
        fates = list(Fate)
        fate = Fate.WELL if self.calm else self._chance.choices(fates, [fate.value for fate in fates])[0]
        self.fates[fate] += 1
        replica = self._chance.choice(self._replicas)
        if not self.calm:
            await asyncio.sleep(self._chance.choice((0.0, 0.001, 0.02, 0.1)))  # on its way
        if fate is Fate.WELL:
            return await self._undisturbed(ticket, work(replica))
        self._lost.add(ticket)
        if fate is Fate.DELIVERED_LATE:
            self._stray(self._after(self._chance.uniform(0, 1), work, replica))
        else:
            task = self._stray(work(replica))
            self._slow.add(task)
            await asyncio.wait((task,), timeout=self._chance.uniform(0, 0.2))
            if fate is Fate.DIES:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        raise StageLostError("the connection to the replica broke")

    async def _undisturbed(self, ticket: Ticket, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        except StageLostError:
            if ticket not in self._lost:
                self.violations.append(f"slot {ticket.slot} was granted while another request's call wrote into it")
            raise

    def _stray(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self.strays.add(task)
        return task

    async def _after(self, seconds: float, work: Callable[[Handoff], Coroutine[Any, Any, T]], replica: Handoff) -> T:
        await asyncio.sleep(seconds)
        return await work(replica)


def the_one_value(array: Float32) -> float:
    """What every element holds, or ``TORN`` where they differ."""
    first = float(array.flat[0])
    return first if bool(np.all(array == first)) else TORN
