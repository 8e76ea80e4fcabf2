"""The one HTTP client of all benchmarks and load tests: it makes an upload, sends it, reads its answer, or hangs up.

A form is made once and sent as bytes, any number of times: aiohttp's ``FormData`` belongs to one request and costs
0.30 ms of CPU per request of 180 kB where bytes cost 0.19 ms. Two load generators send the same uploads over transports
of their own, and read the answers with the same ``read_reply``: the open loop over a raw protocol, because each of its
requests has a connection of its own, which costs aiohttp 0.46 ms and the protocol 0.24 ms; and the scenarios over
locust's (0.25 ms), whose users and statistics only work with gevent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from urllib3 import encode_multipart_formdata

from deployments.shared.headers import PRIORITY_HEADER, REQUEST_ID_HEADER, TIMEOUT_HEADER
from loadtests.common.replies import NO_ANSWER, Reply, read_reply

PATH = "/v1/audio/transcriptions"
CONNECT_S = 10.0
CONNECTION_ERRORS = (aiohttp.ClientError, OSError)


class UnansweredError(RuntimeError):
    """A request got no transcript, although the service was asked for no more than it can do."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One request to be: a form with a file in it, and how urgent it is.

    Attributes:
        body: the encoded form.
        streamed: whether the form asks for a stream of events.
        priority: ``high``, ``normal`` or ``low``; None leaves it to the service.
        deadline_s: seconds within which the service has to answer; None leaves it to the service.
    """

    body: bytes
    content_type: str
    streamed: bool = False
    priority: str | None = None
    deadline_s: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        headers = {"content-type": self.content_type}
        if self.priority is not None:
            headers[PRIORITY_HEADER] = self.priority
        if self.deadline_s is not None:
            headers[TIMEOUT_HEADER] = f"{self.deadline_s:.3f}"
        return headers


def make_upload(
    content: bytes,
    fields: Mapping[str, str] | None = None,
    *,
    filename: str = "audio.wav",
    priority: str | None = None,
    deadline_s: float | None = None,
) -> Upload:
    """Encode a file and the other fields of the form."""
    fields = fields or {}
    body, content_type = encode_multipart_formdata({**fields, "file": (filename, content, "application/octet-stream")})
    return Upload(body, content_type, fields.get("stream") == "true", priority, deadline_s)


def raw_request(url: str, upload: Upload) -> bytes:
    """Return the bytes of a whole HTTP request, for a connection that sends nothing else.

    Args:
        url: the base URL of the service.
    """
    address = urlsplit(url)
    headers = {**upload.headers, "host": address.netloc, "content-length": str(len(upload.body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {address.path}{PATH} HTTP/1.1\r\n{head}\r\n".encode() + upload.body


async def send(
    session: aiohttp.ClientSession,
    url: str,
    upload: Upload,
    *,
    expected: str | None = None,
    patience_s: float | None = None,
) -> Reply:
    """Send an upload and read the answer to its end; a connection that breaks is a reply too.

    Args:
        url: the base URL of the service.
        expected: the text that the service gave for this audio before; None where any text is right.
        patience_s: seconds until the client gives up; None leaves it to the session.
    """
    status, request_id = NO_ANSWER, ""
    try:
        async with (
            asyncio.timeout(patience_s),
            session.post(url + PATH, data=upload.body, headers=upload.headers) as answer,
        ):
            status, request_id = answer.status, answer.headers.get(REQUEST_ID_HEADER, "")
            body = await answer.read()
    except TimeoutError as error:
        return Reply("stuck", status, code=type(error).__name__, request_id=request_id)
    except CONNECTION_ERRORS as error:
        return Reply("no answer", status, code=type(error).__name__, request_id=request_id)
    return read_reply(status, answer.headers, body, streamed=upload.streamed, expected=expected)


async def transcribe(session: aiohttp.ClientSession, url: str, upload: Upload) -> str:
    """Send an upload and return its text.

    Raises:
        UnansweredError: there is none.
    """
    reply = await send(session, url, upload)
    if reply.text is None:
        raise UnansweredError(f"{reply.status} {reply.code}: {reply.message}")
    return reply.text


async def fetch_document(session: aiohttp.ClientSession, url: str, upload: Upload) -> dict[str, Any]:
    """Send an upload and return the whole JSON document of its answer.

    Raises:
        UnansweredError: there is no transcript.
    """
    try:
        async with session.post(url + PATH, data=upload.body, headers=upload.headers) as answer:
            body = await answer.read()
    except CONNECTION_ERRORS as error:
        raise UnansweredError(f"The connection broke: {type(error).__name__}") from error
    reply = read_reply(answer.status, answer.headers, body)
    if reply.text is None:
        raise UnansweredError(f"{reply.status} {reply.code}: {reply.message}")
    document: dict[str, Any] = json.loads(body)
    return document


async def hang_up(url: str, upload: Upload, *, share: float, wait_s: float) -> None:
    """Send a share of the request, wait, and break the connection, whatever came until then."""
    address, request = urlsplit(url), raw_request(url, upload)
    with suppress(*CONNECTION_ERRORS):
        async with asyncio.timeout(CONNECT_S + wait_s):
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                writer.write(request[: int(share * len(request))])
                await asyncio.sleep(wait_s)
            finally:
                writer.transport.abort()
