"""Names of hosts and origins, as an operator writes them in the settings and as browsers send them."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator

ANY: Final = "*"
"""Stands in a list for every name."""

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
"""The port that a URL means when it names none, by its scheme."""


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


def origin_of(url: str) -> str | None:
    """Return scheme, host and port of an ``http`` or ``https`` URL in lower case, without a port that the scheme has.

    None where it is no such URL, or one with a user's name or a character that programs read in different ways.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    scheme, authority = parts.scheme.lower(), parts.netloc.lower()
    is_plain = url.isascii() and url.isprintable() and not set(url) & set(' \\"<>') and not set(authority) & set("@*")
    if scheme not in DEFAULT_PORTS or not parts.hostname or authority.endswith(":") or not is_plain:
        return None
    has_default_port = port == DEFAULT_PORTS[scheme]
    return f"{scheme}://{authority.removesuffix(f':{port}') if has_default_port else authority}"


def _callback_host(text: str) -> str:
    url = text if "://" in text else f"https://{text}"
    origin = origin_of(url)
    if origin is None or url.count("/") != 2 or set(url) & set("?#"):  # noqa: PLR2004  (those before the host)
        raise ValueError(
            f"{text!r} is no host: write host or host:port, such as hooks.example.org, with http:// before it where "
            "there is no TLS"
        )
    return origin


HostName = Annotated[str, AfterValidator(_host_name)]
"""The name of a host in lower case, or ``ANY``. A slip is an error, because it would just never match."""

Origin = Annotated[str, AfterValidator(_origin)]
"""The scheme, host and port of a web page, or ``ANY``."""

CallbackHost = Annotated[str, AfterValidator(_callback_host)]
"""A host that is told of the end of jobs, kept as ``origin_of`` its URLs: ``https`` unless it says ``http://``."""
