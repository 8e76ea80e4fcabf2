"""``/``: a page for people who have a recording or speak, and the files that it is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

STATIC: Final = Path(__file__).with_name("static")
INDEX: Final = "index.html"

MEDIA_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
)
"""By suffix: browsers run no module of another type, and what the machine knows of types may be wrong."""

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "media-src blob:",  # the recording that was chosen, played from the browser's own memory
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Modules name each other without a version, so a browser asks whether its copies are still the same.
        "cache-control": "no-cache",
        "content-security-policy": POLICY,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "microphone=(self), camera=(), geolocation=()",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
)


class _File(NamedTuple):
    """A file of the page.

    Attributes:
        etag: another one for another content.
    """

    content: bytes
    media_type: str
    etag: str


async def index(request: Request) -> Response:
    """Answer with the page itself."""
    return _response(request, _files()[INDEX])


async def page_file(request: Request) -> Response:
    """Answer with a file that the page is made of.

    Raises:
        HTTPException: there is none of that name.
    """
    file = _files().get(request.path_params["file"])
    if file is None:
        raise HTTPException(404)
    return _response(request, file)


def _response(request: Request, file: _File) -> Response:
    headers = {**HEADERS, "etag": file.etag}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


@cache
def _files() -> dict[str, _File]:
    """Return every file by its name."""
    return {path.name: _read(path) for path in STATIC.iterdir()}


def _read(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content, MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:16]}"')
