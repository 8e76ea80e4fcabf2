"""An open loop over HTTP: requests arrive at a fixed rate, whether or not earlier ones are answered.

Each has a connection of its own, as from clients that know nothing of each other. Nothing is prepared or read while the
clock runs: a request is bytes that are written as they are, and an answer is kept as it came until all have ended. So
the generator takes little of the cores that it may have to share with the service; what it takes, and how late it ran,
is reported.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from loadtests.common.client import Upload, raw_request
from loadtests.common.replies import Reply, read_reply

TICK_S = 0.005
PATIENCE_S = 60.0

STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class RawRequest:
    """One request, ready to be written.

    Attributes:
        kind: the name that its answer is counted under.
        data: the whole request, headers and body.
    """

    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request that was made, and what it met.

    Attributes:
        seconds: time from before connecting to the last byte of the answer.
    """

    kind: str
    seconds: float
    reply: Reply


@dataclass
class OpenLoopResult:
    """One run, and what it took to make it.

    Attributes:
        lags_s: how late the generator's own event loop ran, sampled all the time.
        cpu_share: the share of one core that the generator used.
    """

    seconds: float
    arrivals: list[Arrival] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)
    cpu_share: float = 0.0


def prepare(kind: str, url: str, upload: Upload) -> RawRequest:
    """Make the bytes of a request to the service at ``url``."""
    return RawRequest(kind, raw_request(url, upload))


def offer(
    url: str, requests: Sequence[RawRequest], *, rate: float, seconds: float, patience_s: float = PATIENCE_S
) -> OpenLoopResult:
    """Send the requests in turn, ``rate`` per second, for ``seconds``; return when all of them have met their end.

    Args:
        patience_s: how long each waits for its answer.
    """
    return asyncio.run(_offer(url, requests, rate, seconds, patience_s))


async def _offer(
    url: str, requests: Sequence[RawRequest], rate: float, seconds: float, patience_s: float
) -> OpenLoopResult:
    result = OpenLoopResult(seconds)
    where = urlsplit(url)
    watching = asyncio.create_task(_watch_lag(result.lags_s))
    began, cpu_began, tasks = time.perf_counter(), time.process_time(), []
    for number, request in zip(range(int(rate * seconds)), itertools.cycle(requests), strict=False):
        late_s = time.perf_counter() - (began + number / rate)
        if late_s < 0:
            await asyncio.sleep(-late_s)
        tasks.append(asyncio.create_task(_exchange(where.hostname or "", where.port or 80, request, patience_s)))
    sent_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    result.cpu_share = cpu_s / sent_s
    ended = await asyncio.gather(*tasks)
    watching.cancel()
    result.arrivals = [Arrival(kind, took, _read_raw(answer)) for kind, took, answer in ended]
    return result


async def _watch_lag(lags_s: list[float]) -> None:
    while True:
        due = time.perf_counter() + TICK_S
        await asyncio.sleep(TICK_S)
        lags_s.append(time.perf_counter() - due)


async def _exchange(host: str, port: int, request: RawRequest, patience_s: float) -> tuple[str, float, bytes | OSError]:
    """Return the request's kind, the seconds it took, and the answer's bytes or what broke."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    try:
        async with asyncio.timeout(patience_s):
            _, client = await loop.create_connection(lambda: _Client(request.data), host, port)
            answer = await client.answered
    except OSError as error:
        return request.kind, time.perf_counter() - began, error
    return request.kind, client.ended - began, answer


def _read_raw(answer: bytes | OSError) -> Reply:
    if isinstance(answer, OSError):
        return Reply("stuck" if isinstance(answer, TimeoutError) else "no answer", code=type(answer).__name__)
    head, _, body = answer.partition(HEAD_END)
    status = STATUS.match(head)
    lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return read_reply(int(status[1]) if status else 0, {name.lower(): value.strip() for name, _, value in lines}, body)


class _Client(asyncio.Protocol):
    """A connection that sends one request, and ends when it has the answer."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None
        self.answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.ended = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.WriteTransport):
            raise TypeError("A connection cannot be written to.")
        self._transport = transport
        transport.write(self._data)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._transport is None or not _is_complete(self._received):
            return
        self.ended = time.perf_counter()
        if not self.answered.done():
            self.answered.set_result(self._received)
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answered.done():
            self.answered.set_exception(exc or ConnectionAbortedError("The connection ended before the answer."))


def _is_complete(answer: bytes) -> bool:
    head, separator, body = answer.partition(HEAD_END)
    length = LENGTH.search(head)
    return bool(separator) and length is not None and len(body) >= int(length[1])
