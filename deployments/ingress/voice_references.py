"""Recordings of known voices inside a form: data URLs, as OpenAI's ``known_speaker_references``."""

from __future__ import annotations

import base64
import binascii
from typing import Final
from urllib.parse import unquote_to_bytes

REFERENCES: Final = "known_speaker_references"
"""The field of a form that holds them."""

PREFIX: Final = "data:"


def data_of(url: str) -> bytes:
    """Return what a data URL (RFC 2397) holds.

    Raises:
        ValueError: it is none, or holds nothing; says what to send.
    """
    head, comma, data = url.partition(",")
    if not head.startswith(PREFIX) or not comma:
        raise ValueError("send each reference as a data URL: data:audio/wav;base64,...")
    if not head.endswith(";base64"):
        content = unquote_to_bytes(data)
    else:
        try:
            content = base64.b64decode(unquote_to_bytes(data), validate=True)
        except binascii.Error:
            raise ValueError("a reference is no valid base64; send data:audio/wav;base64,...") from None
    if not content:
        raise ValueError("a reference is empty; send 2 to 10 s of speech by one person")
    return content


def data_url(content: bytes, media_type: str) -> str:
    """Return the data URL that holds ``content``."""
    return f"{PREFIX}{media_type};base64,{base64.b64encode(content).decode('ascii')}"
