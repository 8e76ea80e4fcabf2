"""Names of hosts and origins, as an operator writes them in the settings and as browsers send them."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator

ANY: Final = "*"
"""Stands in a list for every name."""


def host_of(authority: str) -> str:
    """Return the host of ``host``, ``host:port`` or ``[address]:port``, in lower case and without brackets."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0].lower()
    return authority.partition(":")[0].removesuffix(".").lower()


def _host_name(text: str) -> str:
    if text != ANY and (not text or host_of(text) != text.lower() or set(text) & set("/@*[] ")):
        raise ValueError(f"{text!r} is no host name: write it without scheme and port, such as speech.example.org")
    return text.lower()


def _origin(text: str) -> str:
    parts = urlsplit(text)
    is_whole = bool(parts.scheme and parts.netloc) and text == f"{parts.scheme}://{parts.netloc}"
    if text != ANY and (not is_whole or set(parts.netloc) & set("@* ")):
        raise ValueError(f"{text!r} is no origin: write scheme, host and port alone, such as https://app.example.org")
    return text


HostName = Annotated[str, AfterValidator(_host_name)]
"""The name of a host in lower case, or ``ANY``. A slip is an error, because it would just never match."""

Origin = Annotated[str, AfterValidator(_origin)]
"""The scheme, host and port of a web page, or ``ANY``."""
