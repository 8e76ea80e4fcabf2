"""An open loop over HTTP: requests arrive at a fixed rate, whether or not earlier ones are answered.

Each has a connection of its own, as from clients that know nothing of each other. Nothing is prepared while the clock
runs: a request is bytes that are written as they are, and of an answer only what is counted is read. So the generator
takes little of the cores that it may have to share with the service; what it takes, and how late it ran, is reported.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from loadtests.common.samples import upload

TICK_S = 0.005
PATIENCE_S = 60.0

STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
RETRY_AFTER = re.compile(rb"(?i)\r\nretry-after: *(\d+)")
CODE = re.compile(rb'"code": *"(\w+)"')
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, ready to be sent.

    Attributes:
        kind: what its answer is counted under.
        data: the whole request, headers and body.
    """

    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request met.

    Attributes:
        status: of HTTP; 0 where the connection broke.
        code: OpenAI's code of an error, the exception of a broken connection, else empty.
        seconds: from before connecting to the last byte of the answer.
    """

    kind: str
    status: int
    code: str
    has_retry_after: bool
    seconds: float


@dataclass
class OpenLoopResult:
    """One run, and what it took to make it.

    Attributes:
        lags_s: how late the generator's own event loop ran, sampled all the time.
        cpu_share: of one core that the generator used.
    """

    seconds: float
    answers: list[Answer] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)
    cpu_share: float = 0.0


def post(url: str, path: str, audio: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of a request that posts ``audio`` as multipart field ``file``."""
    form = upload(audio, {})
    all_headers = {
        "host": urlsplit(url).netloc,
        "content-type": form.content_type,
        "content-length": str(len(form.body)),
        **headers,
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in all_headers.items())]
    return "\r\n".join(lines).encode() + HEAD_END + form.body


def offer(
    url: str, asks: Sequence[Ask], *, rate: float, seconds: float, patience_s: float = PATIENCE_S
) -> OpenLoopResult:
    """Send ``asks`` in turn, ``rate`` a second, for ``seconds``; return when all of them have met their end.

    Args:
        patience_s: how long each waits for its answer.
    """
    return asyncio.run(_offer(url, asks, rate, seconds, patience_s))


async def _offer(url: str, asks: Sequence[Ask], rate: float, seconds: float, patience_s: float) -> OpenLoopResult:
    result = OpenLoopResult(seconds)
    where = urlsplit(url)
    watching = asyncio.create_task(_watch_lag(result.lags_s))
    began, cpu_began, tasks = time.perf_counter(), time.process_time(), []
    for number, ask in zip(range(int(rate * seconds)), itertools.cycle(asks), strict=False):
        late_s = time.perf_counter() - (began + number / rate)
        if late_s < 0:
            await asyncio.sleep(-late_s)
        tasks.append(asyncio.create_task(_ask(where.hostname or "", where.port or 80, ask, patience_s)))
    sent_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    result.cpu_share = cpu_s / sent_s
    result.answers = await asyncio.gather(*tasks)
    watching.cancel()
    return result


async def _watch_lag(lags_s: list[float]) -> None:
    while True:
        due = time.perf_counter() + TICK_S
        await asyncio.sleep(TICK_S)
        lags_s.append(time.perf_counter() - due)


async def _ask(host: str, port: int, ask: Ask, patience_s: float) -> Answer:
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    try:
        async with asyncio.timeout(patience_s):
            _, client = await loop.create_connection(lambda: _Client(ask.data), host, port)
            answer = await client.answered
    except (OSError, TimeoutError) as error:
        return Answer(ask.kind, 0, type(error).__name__, has_retry_after=False, seconds=time.perf_counter() - began)
    status, code = STATUS.match(answer), CODE.search(answer)
    return Answer(
        ask.kind,
        int(status[1]) if status else 0,
        code[1].decode() if code else "",
        has_retry_after=RETRY_AFTER.search(answer) is not None,
        seconds=client.ended - began,
    )


class _Client(asyncio.Protocol):
    """Sends a request, and hangs up when it has its answer."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None
        self.answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.ended = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.WriteTransport):
            raise TypeError("a connection that cannot be written to")
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
            self.answered.set_exception(exc or ConnectionAbortedError("the connection ended before the answer"))


def _is_complete(answer: bytes) -> bool:
    head, separator, body = answer.partition(HEAD_END)
    length = LENGTH.search(head)
    return bool(separator) and length is not None and len(body) >= int(length[1])
