"""Reads a multipart form as clients write it: an upload may have its name only in the extended notation of RFC 5987."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from deployments.ingress.form import MAX_KNOWN_SPEAKERS
from deployments.ingress.voice_references import REFERENCES
from deployments.shared.errors import InvalidRequestError

MAX_FIELDS: Final = 64
MAX_FIELD_BYTES: Final = 64 * 1024
MAX_REFERENCE_BYTES: Final = 4 * 2**20
"""Of a field with a recording in it: ten seconds of stereo at 48 kHz in base64 have 2.6 MB."""

REFERENCE: Final = re.compile(rb"""name="?%s\b""" % REFERENCES.encode())
MAX_FILES: Final = 1 + MAX_KNOWN_SPEAKERS

PLAIN_NAME: Final = re.compile(rb";\s*filename\s*=", re.IGNORECASE)
EXTENDED_NAME: Final = re.compile(
    rb""";\s*filename\*\s*=\s*"?(?P<charset>utf-8|iso-8859-1)'[^']*'(?P<name>[^;"\s]*)""", re.IGNORECASE
)


@asynccontextmanager
async def multipart_form(http: Request) -> AsyncIterator[FormData]:
    """Read the form of a request, whose files last as long as the context.

    Raises:
        InvalidRequestError: the body is no form, or has too many or too large fields, or too many files.
    """
    parser = _Parser(
        http.headers, http.stream(), max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequestError(error.message) from None
    try:
        yield form
    finally:
        await form.close()


class _Parser(MultiPartParser):
    def on_headers_finished(self) -> None:
        part = self._current_part
        part.content_disposition = with_plain_name(part.content_disposition)
        is_reference = REFERENCE.search(part.content_disposition or b"") is not None
        self.max_part_size = MAX_REFERENCE_BYTES if is_reference else MAX_FIELD_BYTES
        super().on_headers_finished()


def with_plain_name(disposition: bytes | None) -> bytes | None:
    """Return a part's ``content-disposition`` with a plain ``filename``, if it has only ``filename*``.

    RFC 7578 forbids the latter in forms, and some clients send it all the same; without a name a file is a text field.
    """
    extended = EXTENDED_NAME.search(disposition or b"")
    if disposition is None or extended is None or PLAIN_NAME.search(disposition):
        return disposition
    name = unquote_to_bytes(extended["name"]).decode(extended["charset"].decode("ascii"), "replace")
    printable = "".join(character for character in name if character.isprintable())
    quoted = printable.replace("\\", "\\\\").replace('"', '\\"')
    return disposition + f'; filename="{quoted}"'.encode()
