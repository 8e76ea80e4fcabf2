"""The clients: what each sends next, how it sends it, and what it makes of the answer."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp

from loadtests.common.samples import BAD, LONG, MINUTES, SHORT, Sample, Upload, upload
from loadtests.load.calibration import Calibration
from loadtests.load.chaos.verdict import OK, Attempt, Purpose, Result, worth_retrying

T = TypeVar("T")

PATH = "/v1/audio/transcriptions"
CLIENTS = 12
DEADLINE_S = 60.0
PATIENCE = 2 * CLIENTS
"""Times what a file takes alone that its client waits at least: all clients may have sent such a file before it."""

GRACE_S = 10.0
ATTEMPTS = 10
BACKOFF_S = 0.5
SHORT_DEADLINE = (0.5, 12.0)
HANG_UP = (0.0, 12.0)
"""In multiples of a request alone, so that clients go away at every moment of a request under load."""


PURPOSES: dict[Purpose, float] = {"transcribe": 0.8, "bad upload": 0.08, "hang up": 0.07, "short deadline": 0.05}
SIZES = {SHORT: 0.85, LONG: 0.14, MINUTES: 0.01}
PRIORITIES = {"high": 0.2, "normal": 0.6, "low": 0.2}
FORMATS = {"json": 0.5, "verbose_json": 0.25, "stream": 0.25}

BROKEN = (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError, TimeoutError)


@dataclass(frozen=True)
class Ask:
    """One request to be.

    Attributes:
        sample: its name.
        answer_format: ``json``, ``verbose_json`` or ``stream``.
        deadline_s: what the service is told.
        expected: the text; empty where there is none.
    """

    purpose: Purpose
    sample: str
    size: str
    answer_format: str
    priority: str
    deadline_s: float
    upload: Upload
    expected: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {
            "content-type": self.upload.content_type,
            "x-priority": self.priority,
            "x-timeout-seconds": f"{self.deadline_s:.3f}",
        }


@dataclass(frozen=True)
class Done:
    """One request with all its attempts, the last one last."""

    purpose: Purpose
    size: str
    attempts: tuple[Attempt, ...]

    @property
    def seconds(self) -> float:
        """As its client waited, retries included."""
        return self.attempts[-1].ended - self.attempts[0].began


class Menu:
    """Chooses what to ask next.

    Attributes:
        samples: all good files.
        calibration: the texts that the calm service gave, and what it took.
    """

    def __init__(self, rng: random.Random, samples: Sequence[Sample], calibration: Calibration) -> None:
        self.samples = samples
        self.calibration = calibration
        self._rng = rng
        self._by_size = {size: [sample for sample in samples if sample.size == size] for size in SIZES}

    @property
    def longest_deadline_s(self) -> float:
        return max(self._deadline_s(sample) for sample in self.samples)

    def choose(self) -> Ask:
        purpose = self._draw(PURPOSES)
        answer_format, priority = self._draw(FORMATS), self._draw(PRIORITIES)
        fields = {"stream": "true"} if answer_format == "stream" else {"response_format": answer_format}
        if purpose == "bad upload":
            name = self._rng.choice(sorted(BAD))
            return Ask(purpose, name, SHORT, answer_format, priority, DEADLINE_S, upload(BAD[name], fields))
        size = self._draw(SIZES)
        sample = self._rng.choice(self._by_size[size])
        deadline_s = self._alone(SHORT_DEADLINE) if purpose == "short deadline" else self._deadline_s(sample)
        body, text = upload(sample.content, fields), self.calibration.texts[sample.name]
        return Ask(purpose, sample.name, size, answer_format, priority, deadline_s, body, text)

    def moment(self) -> tuple[float, float]:
        """When a client hangs up: the share of its request that it sends, then the seconds that it waits."""
        return self._rng.choice((self._rng.random(), 1.0)), self._alone(HANG_UP)

    def _deadline_s(self, sample: Sample) -> float:
        return max(DEADLINE_S, PATIENCE * self.calibration.alone_s[sample.name])

    def _alone(self, multiples: tuple[float, float]) -> float:
        """Seconds, drawn between multiples of what a request takes alone."""
        return self._rng.uniform(*multiples) * self.calibration.request_s

    def _draw(self, weights: Mapping[T, float]) -> T:
        return self._rng.choices(list(weights), list(weights.values()))[0]


async def perform(session: aiohttp.ClientSession, url: str, menu: Menu) -> Done:
    """One request, with the retries of a sane client."""
    ask = menu.choose()
    if ask.purpose == "hang up":
        return Done(ask.purpose, ask.size, (await _hang_up(url, ask, *menu.moment()),))
    attempts = [await send(session, url, ask)]
    while worth_retrying(attempts[-1]) and len(attempts) < ATTEMPTS:
        await asyncio.sleep(attempts[-1].retry_after_s or BACKOFF_S * len(attempts))
        attempts.append(await send(session, url, ask))
    return Done(ask.purpose, ask.size, tuple(attempts))


async def send(session: aiohttp.ClientSession, url: str, ask: Ask) -> Attempt:
    """One attempt. Whatever happens becomes its result."""
    began = time.monotonic()
    seen = Seen()
    try:
        async with asyncio.timeout(ask.deadline_s + GRACE_S):
            async with session.post(url + PATH, data=ask.upload.body, headers=ask.headers) as answer:
                seen.status, seen.request_id = answer.status, answer.headers.get("x-request-id", "")
                seen.retry_after_s = _seconds(answer.headers.get("retry-after"))
                seen.body = await answer.read()
    except TimeoutError:
        return seen.attempt(ask, began, "stuck")
    except BROKEN as error:
        seen.code = type(error).__name__
        return seen.attempt(ask, began, "no answer")
    result = read(seen, ask)
    return seen.attempt(ask, began, result)


@dataclass
class Seen:
    """What has come of an answer so far."""

    status: int | None = None
    request_id: str = ""
    retry_after_s: float | None = None
    code: str = ""
    body: bytes = b""

    def attempt(self, ask: Ask, began: float, result: Result) -> Attempt:
        return Attempt(
            ask.purpose,
            ask.sample,
            began,
            time.monotonic(),
            result,
            self.status,
            self.code,
            self.retry_after_s,
            self.request_id,
        )


def read(seen: Seen, ask: Ask) -> Result:
    """What a complete answer means; notes the code of an error."""
    try:
        if seen.status == OK and ask.answer_format == "stream":
            document = _last_event(seen.body)
        else:
            document = json.loads(seen.body)
        if "error" in document:
            seen.code = str(document["error"]["code"])
            return "error"
        text = str(document["text"])
    except (ValueError, KeyError, TypeError):
        if seen.status is not None and seen.status > OK:
            seen.code = "page of the proxy"
            return "no answer"
        return "malformed"
    return "right text" if text == ask.expected else "wrong text"


def _last_event(body: bytes) -> dict[str, Any]:
    """The event that ends a stream, once the deltas before it were found to give the same text.

    Raises:
        ValueError: no such event, or deltas that give another text.
    """
    events = [json.loads(line.removeprefix("data: ")) for line in body.decode().split("\n\n") if line]
    last: dict[str, Any] = events[-1] if events else {}
    if last.get("type") == "error":
        return last
    deltas = "".join(event["delta"] for event in events[:-1])
    if last.get("type") != "transcript.text.done" or deltas != last["text"]:
        raise ValueError("the stream does not end as it should")
    return last


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and retry_after.isdecimal() else None


async def _hang_up(url: str, ask: Ask, share: float, wait_s: float) -> Attempt:
    """Sends a share of the request, waits, and breaks the connection, whatever came until then."""
    began = time.monotonic()
    seen = Seen()
    host = urlsplit(url)
    headers = {**ask.headers, "host": host.netloc, "content-length": str(len(ask.upload.body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode() + ask.upload.body
    with suppress(*BROKEN):
        async with asyncio.timeout(wait_s + GRACE_S):
            _, writer = await asyncio.open_connection(host.hostname, host.port)
            try:
                writer.write(request[: int(share * len(request))])
                await asyncio.sleep(wait_s)
            finally:
                writer.transport.abort()
    return seen.attempt(ask, began, "hung up")
