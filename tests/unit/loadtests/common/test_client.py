"""The one HTTP client: what it sends, and that whatever happens to a request becomes a reply."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import aiohttp
import pytest
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartParser

from loadtests.common.client import PATH, UnansweredError, hang_up, make_upload, raw_request, send, transcribe
from loadtests.common.service_process import free_port

T = TypeVar("T")
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

AUDIO = bytes(range(256)) * 400
TEXT = b'{"text": "one two"}'


def answering(head: bytes, body: bytes = b"") -> Handle:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(head + b"\r\n\r\n" + body)

    return handle


async def request_of(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return head, await reader.readexactly(int(length.split(b":")[1]))


def against(handle: Handle, work: Callable[[aiohttp.ClientSession, str], Awaitable[T]]) -> T:
    """Run ``work`` beside a server that treats each connection with ``handle``."""

    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            try:
                await handle(reader, writer)
                await writer.drain()
            finally:
                writer.close()

    async def run() -> T:
        server = await asyncio.start_server(treat, "127.0.0.1", 0)
        async with server, aiohttp.ClientSession() as session:
            return await work(session, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    return asyncio.run(run())


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nx-request-id: abc" % len(body)


def test_an_upload_is_a_form_that_the_service_can_read() -> None:
    upload = make_upload(AUDIO, {"stream": "true"}, filename="ä b.wav", priority="low", deadline_s=2.0)

    async def body() -> AsyncGenerator[bytes, None]:
        yield upload.body

    async def parsed() -> tuple[object, ...]:
        form = await MultiPartParser(Headers(upload.headers), body()).parse()
        file = form["file"]
        assert isinstance(file, UploadFile)
        found = (form["stream"], file.filename, await file.read())
        await form.close()
        return found

    assert asyncio.run(parsed()) == ("true", "ä b.wav", AUDIO)
    assert upload.streamed
    assert (upload.headers["x-priority"], upload.headers["x-timeout-seconds"]) == ("low", "2.000")


def test_what_a_client_leaves_to_the_service_is_not_sent() -> None:
    upload = make_upload(AUDIO)
    assert list(upload.headers) == ["content-type"]
    assert not upload.streamed
    assert not make_upload(AUDIO, {"stream": "false"}).streamed


def test_a_raw_request_is_what_the_client_sends() -> None:
    seen: list[tuple[bytes, bytes]] = []
    upload = make_upload(AUDIO, priority="high")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request_of(reader))
        writer.write(ok(TEXT) + b"\r\n\r\n" + TEXT)

    async def both(session: aiohttp.ClientSession, url: str) -> None:
        await send(session, f"{url}/route", upload)
        address = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(*address)
        writer.write(raw_request(f"{url}/route", upload))
        await reader.read()
        writer.close()
        await writer.wait_closed()

    against(handle, both)
    (sent, body), (raw, raw_body) = seen
    assert body == raw_body == upload.body
    assert sent.splitlines()[0] == raw.splitlines()[0] == f"POST /route{PATH} HTTP/1.1".encode()
    named = {line.split(b":")[0].lower() for line in raw.splitlines()[1:] if line}
    assert named == {b"host", b"content-type", b"content-length", b"x-priority"}


@pytest.mark.parametrize(
    ("handle", "expected"),
    [
        (answering(ok(TEXT), TEXT), ("right", 200, "", "abc")),
        (answering(b"HTTP/1.1 503 Busy\r\ncontent-length: 2", b"{}"), ("no answer", 503, "proxy_page", "")),
        (answering(ok(TEXT), TEXT[:5]), ("no answer", 200, "ClientPayloadError", "abc")),
    ],
)
def test_every_end_of_a_request_is_a_reply(handle: Handle, expected: tuple[object, ...]) -> None:
    reply = against(handle, lambda session, url: send(session, url, make_upload(AUDIO), expected="one two"))
    assert (reply.outcome, reply.status, reply.code, reply.request_id) == expected


def test_no_server_is_no_answer() -> None:
    async def run() -> str:
        async with aiohttp.ClientSession() as session:
            return (await send(session, f"http://127.0.0.1:{free_port()}", make_upload(AUDIO))).outcome

    assert asyncio.run(run()) == "no answer"


def test_an_answer_that_does_not_come_ends_the_clients_patience() -> None:
    async def handle(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    reply = against(handle, lambda session, url: send(session, url, make_upload(AUDIO), patience_s=0.1))
    assert (reply.outcome, reply.status, reply.code) == ("stuck", 0, "TimeoutError")


def test_a_text_is_returned_and_anything_else_is_raised_with_what_it_was() -> None:
    upload = make_upload(AUDIO)
    assert against(answering(ok(TEXT), TEXT), lambda session, url: transcribe(session, url, upload)) == "one two"
    error = b'{"error": {"code": "invalid_audio", "message": "Upload another file."}}'
    refusing = answering(b"HTTP/1.1 400 Bad\r\ncontent-length: %d" % len(error), error)
    with pytest.raises(UnansweredError, match=r"^400 invalid_audio: Upload another file\.$"):
        against(refusing, lambda session, url: transcribe(session, url, upload))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_client_hangs_up_after_its_share_of_the_request(share: float) -> None:
    received: list[bytes] = []

    async def run() -> float:
        ended = asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while data := await reader.read(2**16):
                    received.append(data)
            except ConnectionError:
                pass
            writer.close()
            ended.set()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            began = time.monotonic()
            await hang_up(url, upload, share=share, wait_s=0.2)
            waited = time.monotonic() - began
            await asyncio.wait_for(ended.wait(), 5)
            return waited

    upload = make_upload(AUDIO, deadline_s=1.0)
    assert asyncio.run(run()) >= 0.2
    # The port is not known beforehand, but all ports that a server gets have five digits.
    whole = len(raw_request("http://127.0.0.1:12345", upload))
    assert len(b"".join(received)) == int(share * whole)


def test_nobody_to_hang_up_on_is_no_failure() -> None:
    asyncio.run(hang_up(f"http://127.0.0.1:{free_port()}", make_upload(AUDIO), share=1.0, wait_s=0.0))
