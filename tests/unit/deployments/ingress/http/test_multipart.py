"""The name of an uploaded file, in every notation, and what is no form."""

import asyncio
from pathlib import Path

import pytest
from starlette.requests import Request

from deployments.ingress.http.multipart import MAX_FIELDS, MAX_FILES, multipart_form
from deployments.ingress.http.routes import create_app
from deployments.shared.errors import InvalidRequestError
from tests.support.asgi import body_of, scope_of, status
from tests.support.http_service import service
from tests.support.scripted_stages import ScriptedStages


def part(parameters: str) -> bytes:
    return f"--x\r\ncontent-disposition: form-data; {parameters}\r\n\r\naudio\r\n".encode()


def name_of(parameters: str) -> str | None:
    """The name of the one part's file; None where the part is a plain field."""

    async def read() -> str | None:
        async with multipart_form(Request(scope_of(), body_of(part(parameters)))) as form:
            (value,) = form.values()
            return None if isinstance(value, str) else value.filename

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ('name="file"; filename="a.wav"', "a.wav"),
        ('name="file"; filename=a.wav', "a.wav"),
        ('name="file"; filename=""', ""),
        ('name="file"; filename="日本語 ünï.m4a"', "日本語 ünï.m4a"),
        ("name=\"file\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC%20a.m4a", "日本 a.m4a"),
        ("name=\"file\"; filename*=utf-8'de'gr%C3%B6%C3%9Fe.wav", "größe.wav"),
        ("name=\"file\"; filename*=ISO-8859-1''gr%F6%DFe.wav", "größe.wav"),
        ('name="file"; filename*="UTF-8\'\'a.wav"', "a.wav"),
        ("filename*=UTF-8''a.wav; name=\"file\"", "a.wav"),
        ("name=\"file\"; filename*=UTF-8''", ""),
        ("name=\"file\"; filename*=UTF-8''a%22%5C%0D%0Ab.wav", 'a"\\b.wav'),
        ("name=\"file\"; filename*=UTF-8''%FF.wav", "\N{REPLACEMENT CHARACTER}.wav"),
        ('name="file"; filename="plain.wav"; filename*=UTF-8\'\'other.wav', "plain.wav"),
        ('name="model"', None),
        ("name=\"model\"; filename*=koi8-r''a", None),
    ],
)
def test_a_part_with_a_name_of_whatever_notation_is_a_file(parameters: str, name: str | None) -> None:
    assert name_of(parameters) == name


@pytest.mark.parametrize(
    "form",
    [
        part("name-less"),
        part('name="a"') * (MAX_FIELDS + 1),
        part('name="file"; filename="a"') * (MAX_FILES + 1),
        b"--y\r\n",
    ],
)
def test_what_is_no_form_is_rejected(form: bytes) -> None:
    async def read() -> None:
        async with multipart_form(Request(scope_of(), body_of(form))):
            raise AssertionError("unreachable")

    with pytest.raises(InvalidRequestError):
        asyncio.run(read())


def test_an_upload_with_an_extended_name_alone_is_transcribed(tmp_path: Path) -> None:
    app = create_app(service(ScriptedStages(), tmp_path))
    assert asyncio.run(status(app, part("name=\"file\"; filename*=UTF-8''%E6%97%A5.wav"))) == 200
