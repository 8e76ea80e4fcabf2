"""What HAProxy sends when it reaches no replica of the ingress: the error that the ingress itself would send."""

from __future__ import annotations

import json

from deployments.shared.errors import ServiceUnavailableError

RETRY_AFTER_S = 3
"""Twice this, the ingress is back from its worst fault; OpenAI's clients try twice again."""


def error_page() -> str:
    """Return a whole HTTP response, as HAProxy's ``errorfile`` wants it."""
    error = ServiceUnavailableError(
        "The service is starting, or a part of it is being replaced; try again", retry_after_s=RETRY_AFTER_S
    )
    body = json.dumps(error.body(), separators=(",", ":"))
    head = (
        f"HTTP/1.1 {error.status} Service Unavailable",
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"retry-after: {RETRY_AFTER_S}",
        "cache-control: no-cache",
    )
    return "\r\n".join((*head, "", body))
