"""Post failed requests again.

It works on the failure log as a running service shows it, not on the log's directory: so it runs on any machine, with
an operator's key, whatever user and node the service runs on. The answers go to files that only you can read; what is
answered now is deleted from the log. Without an ID all failures are posted, the oldest first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from deployments.commands.client.options import KEY, URL
from deployments.commands.client.service import Service
from deployments.commands.errors import CommandError
from deployments.commands.files import OWNER_ONLY, OWNER_ONLY_DIRECTORY, make_directory, replace_file
from deployments.ingress.failures.record import Failure
from deployments.shared.contracts import Task
from deployments.shared.headers import PRIORITY_HEADER, REPLAY_HEADER

PAGE = 100
PATHS: dict[Task, str] = {"transcribe": "/v1/audio/transcriptions", "translate": "/v1/audio/translations"}
FILE_SUFFIXES = {"json": ".json", "verbose_json": ".json", "text": ".txt", "srt": ".srt", "vtt": ".vtt"}


@click.command(help=__doc__)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@URL
@KEY
@click.option("--key-env", metavar="VAR", help="Another environment variable that holds the key.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("replayed"),
    show_default=True,
    help="Directory of the answers.",
)
@click.option("--keep", is_flag=True, help="Keep the records of requests that succeed now.")
def command(ids: Sequence[str], url: str, key: str | None, key_env: str | None, output: Path, *, keep: bool) -> None:
    """Post every failure again and tell what came of it."""
    if key_env is not None and key_env not in os.environ:
        raise click.UsageError(f"The environment variable {key_env} is not set")
    log = FailureLog(Service(url, os.environ[key_env] if key_env else key))
    asked = ids or log.ids()
    make_directory(output, mode=OWNER_ONLY_DIRECTORY)
    failed = 0
    for failure_id in asked:
        try:
            click.echo(f"{failure_id} answered: {replay(log, failure_id, output, keep=keep)}")
        except CommandError as error:
            failed += 1
            click.echo(f"{failure_id} failed: {error}")
    if failed:
        raise CommandError(f"{failed} of {len(asked)} failures could not be replayed")


@dataclass(frozen=True, slots=True)
class FailureLog:
    """The failure log of a running service. Every call raises ``ServiceError`` where it is not answered well."""

    service: Service

    def ids(self) -> list[str]:
        """Return the id of every failure, the oldest first."""
        return [item["id"] for item in self._newest_first()][::-1]

    def failure(self, failure_id: str) -> Failure:
        """Return one record."""
        return Failure.model_validate_json(self.service.read("GET", _path(failure_id)))

    def audio(self, failure_id: str) -> bytes:
        """Return the upload of a record whose audio was kept."""
        return self.service.read("GET", f"{_path(failure_id)}/audio")

    def delete(self, failure_id: str) -> None:
        """Delete one record."""
        self.service.read("DELETE", _path(failure_id))

    def transcribe(self, failure: Failure, audio: bytes) -> bytes:
        """Return the answer to the request that failed: as it was, but never streamed, and with a new deadline."""
        return self.service.read(
            "POST",
            PATHS[failure.task],
            headers={PRIORITY_HEADER: failure.priority, REPLAY_HEADER: failure.id},
            data=list(_fields(failure.parameters)),
            files={"file": (f"audio{failure.audio_suffix}", audio)},
        )

    def _newest_first(self) -> Iterator[dict[str, Any]]:
        query = f"?limit={PAGE}"
        while True:
            page = json.loads(self.service.read("GET", f"/failures{query}"))
            yield from page["data"]
            if not page["has_more"]:
                return
            query = f"?limit={PAGE}&before={page['data'][-1]['id']}"


def replay(log: FailureLog, failure_id: str, output: Path, *, keep: bool) -> Path:
    """Ask for one failed request again; return the file that holds the answer.

    Raises:
        CommandError: it failed again, cannot be replayed, or its answer cannot be written.
    """
    failure = log.failure(failure_id)
    if not failure.audio_kept:
        raise CommandError("cannot be replayed: its audio was not kept (AMANUENSIS_FAILURE_LOG_AUDIO=true keeps it)")
    answer = log.transcribe(failure, log.audio(failure_id))
    path = output / (failure.id + FILE_SUFFIXES[failure.parameters["response_format"]])
    replace_file(path, answer, mode=OWNER_ONLY)
    if not keep:
        log.delete(failure_id)
    return path


def _fields(parameters: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in parameters.items():
        if name != "stream":
            yield from ((name, _text(item)) for item in (value if isinstance(value, list) else [value]))


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _path(failure_id: str) -> str:
    return f"/failures/{quote(failure_id, safe='')}"
