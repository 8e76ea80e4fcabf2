"""The response to a job, kept for later: the very one that the client would have got at once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

from deployments.shared.errors import AmanuensisError

CONTENT_TYPE = "content-type"


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """Status, the headers that matter, and the body.

    Attributes:
        headers: by their names in lower case.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of_error(cls, error: AmanuensisError) -> Self:
        """Return the response of a job that failed."""
        body = json.dumps(error.body(), ensure_ascii=False, separators=(",", ":")).encode()
        return cls(error.status, {CONTENT_TYPE: "application/json"}, body)

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Return what ``encode`` wrote."""
        line, _, body = content.partition(b"\n")
        head = json.loads(line)
        return cls(head["status"], head["headers"], body)

    def encode(self) -> bytes:
        """Return a line of JSON, then the body."""
        return json.dumps({"status": self.status, "headers": self.headers}).encode() + b"\n" + self.body
