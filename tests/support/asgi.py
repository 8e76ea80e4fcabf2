"""Requests to an ASGI application, message by message."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope

AUDIO = "/v1/audio/transcriptions"
MULTIPART = "multipart/form-data; boundary=x"
FORM = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\naudio\r\n'
STREAM = b'--x\r\ncontent-disposition: form-data; name="stream"\r\n\r\ntrue\r\n'
END = b"--x--\r\n"


def bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Bearer {key}"}


async def never() -> Message:
    raise AssertionError("nothing should be read")


async def ignore(_: Message) -> None:
    """Drops what is sent."""


def scope_of(content_type: str = MULTIPART, key: str | None = None, **headers: str) -> Scope:
    sent = {"transfer-encoding": "chunked", "content-type": content_type, **bearer(key), **headers}
    return {
        "type": "http",
        "method": "POST",
        "path": AUDIO,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }


def body_of(form: bytes) -> Receive:
    """A body, then a client that stays."""
    messages = iter([{"type": "http.request", "body": form + END, "more_body": False}])

    async def receive() -> Message:
        for message in messages:
            return message
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return receive


async def exchange(
    app: ASGIApp, form: bytes = FORM, /, *, content_type: str = MULTIPART, key: str | None = None, **headers: str
) -> list[Message]:
    """Everything that is sent for one request."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(dict(message))

    await app(scope_of(content_type, key, **headers), body_of(form), send)
    return messages


async def status(
    app: ASGIApp, form: bytes = FORM, /, *, content_type: str = MULTIPART, key: str | None = None, **headers: str
) -> int:
    return int((await exchange(app, form, content_type=content_type, key=key, **headers))[0]["status"])
