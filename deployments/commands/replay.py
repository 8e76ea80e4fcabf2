"""Posts failed requests again: ``python -m deployments.commands.replay --url http://localhost:9000 [ID ...]``.

Works on the failure log as the service shows it, not on its directory: so it runs on any machine, under an operator's
key, whatever user and node the service runs on. The service must be up to be asked again anyway.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deployments.ingress.failures.record import Failure
from deployments.shared.contracts import Task
from deployments.shared.headers import PRIORITY_HEADER, REPLAY_HEADER

TIMEOUT_S = 3600.0
"""Longer than any deadline a service is likely to have."""

PAGE = 100
PATHS: dict[Task, str] = {"transcribe": "/v1/audio/transcriptions", "translate": "/v1/audio/translations"}
FILE_SUFFIXES = {"json": ".json", "verbose_json": ".json", "text": ".txt", "srt": ".srt", "vtt": ".vtt"}


class ReplayError(Exception):
    """Why one failure is still one; for the operator."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, seen from outside. Every call raises ``ReplayError`` where it is not answered as it should."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)

    def ids(self) -> list[str]:
        """Of every failure it knows, oldest first."""
        return [item["id"] for item in self._newest_first()][::-1]

    def failure(self, failure_id: str) -> Failure:
        return Failure.model_validate_json(self._send("GET", _path(failure_id)))

    def audio(self, failure_id: str) -> bytes:
        return self._send("GET", f"{_path(failure_id)}/audio")

    def delete(self, failure_id: str) -> None:
        self._send("DELETE", _path(failure_id))

    def transcribe(self, failure: Failure, audio: bytes) -> bytes:
        """The answer to the request that failed: as it was, but never streamed, and with the service's own deadline."""
        boundary = uuid.uuid4().hex
        headers = {
            "content-type": f"multipart/form-data; boundary={boundary}",
            PRIORITY_HEADER: failure.priority,
            REPLAY_HEADER: failure.id,
        }
        return self._send("POST", PATHS[failure.task], _multipart(failure, audio, boundary), headers)

    def _newest_first(self) -> Iterator[dict[str, Any]]:
        query = f"?limit={PAGE}"
        while True:
            page = json.loads(self._send("GET", f"/failures{query}"))
            yield from page["data"]
            if not page["has_more"]:
                return
            query = f"?limit={PAGE}&before={page['data'][-1]['id']}"

    def _send(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
        request = urllib.request.Request(  # noqa: S310  (the operator's own address)
            self.url + path, body, {**self.headers, **(headers or {})}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                content: bytes = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise ReplayError(f"{error.code} {_message(error.read())}") from error
        except (OSError, http.client.HTTPException) as error:
            raise ReplayError(f"{self.url} does not answer: {error}") from error
        return content


def replay(service: Service, failure_id: str, output: Path, *, keep: bool) -> Path:
    """Asks for one failed request again; returns the file that holds the answer.

    Raises:
        ReplayError: it failed again, or cannot be replayed.
    """
    failure = service.failure(failure_id)
    if not failure.audio_kept:
        raise ReplayError("cannot be replayed: its audio was not kept (AMANUENSIS_FAILURE_LOG_AUDIO=true keeps it)")
    answer = service.transcribe(failure, service.audio(failure_id))
    path = output / (failure.id + FILE_SUFFIXES[failure.parameters["response_format"]])
    path.write_bytes(answer)
    if not keep:
        service.delete(failure_id)
    return path


def _multipart(failure: Failure, audio: bytes, boundary: str) -> bytes:
    parts = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in _fields(failure.parameters)
    ]
    file = (
        f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="audio{failure.audio_suffix}"\r\n\r\n'
    )
    return "".join([*parts, file]).encode() + audio + f"\r\n--{boundary}--\r\n".encode()


def _fields(parameters: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in parameters.items():
        if name != "stream":
            yield from ((name, str(item)) for item in (value if isinstance(value, list) else [value]))


def _path(failure_id: str) -> str:
    return f"/failures/{quote(failure_id, safe='')}"


def _message(body: bytes) -> str:
    """OpenAI's code and message, or what a proxy wrote instead."""
    try:
        error = json.loads(body)["error"]
        return f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m deployments.commands.replay", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="of a failure; default: all, the oldest first")
    parser.add_argument("--url", default="http://localhost:9000", help="of the service (default: %(default)s)")
    parser.add_argument("--key-env", metavar="VAR", help="environment variable that holds an operator's API key")
    parser.add_argument(
        "--output", type=Path, default=Path("replayed"), help="directory for the answers (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the records of requests that succeed now")
    options = parser.parse_args(arguments)
    if options.key_env and options.key_env not in os.environ:
        parser.error(f"the environment variable {options.key_env} is not set")
    return options


def main(arguments: list[str]) -> int:
    """Prints one line a failure; returns 0 if all of them were answered now, else 1."""
    options = _options(arguments)
    headers = {"authorization": f"Bearer {os.environ[options.key_env]}"} if options.key_env else {}
    service = Service(options.url.rstrip("/"), headers)
    failed = False
    try:
        ids = options.ids or service.ids()
    except ReplayError as error:
        _say(str(error))
        return 1
    options.output.mkdir(parents=True, exist_ok=True)
    for failure_id in ids:
        try:
            _say(f"{failure_id} answered: {replay(service, failure_id, options.output, keep=options.keep)}")
        except ReplayError as error:
            failed = True
            _say(f"{failure_id} failed: {error}")
    return int(failed)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
