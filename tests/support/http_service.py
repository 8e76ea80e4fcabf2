"""The HTTP application over scripted stages, and how tests ask it."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from deployments.ingress.http.routes import create_app
from deployments.ingress.service import TranscriptionService
from deployments.shared.contracts import EncoderHealth
from deployments.shared.errors import ServiceUnavailableError
from deployments.shared.model.description import load_model
from deployments.shared.settings import Settings
from tests.support.paths import DEMO_MODEL
from tests.support.scripted_stages import ScriptedStages
from tests.support.tiny_whisper import make_multilingual_model

FILE = {"file": ("a.wav", b"never decoded here")}

TEST_HOST = "testserver"
"""The host that Starlette's test client names."""


class BrokenStages(ScriptedStages):
    """The encoder does not answer."""

    async def encoder_health(self) -> EncoderHealth:
        raise ServiceUnavailableError("the encoder is gone")


def service(
    stages: ScriptedStages, directory: Path, model: Path = DEMO_MODEL, **settings: object
) -> TranscriptionService:
    directories = {"shared_memory_dir": str(directory), "failure_log_dir": f"{directory}-failures"}
    resolved = Settings.resolve({"whisper_model": str(model), "allowed_hosts": [TEST_HOST], **directories, **settings})
    return TranscriptionService(resolved, load_model(resolved), stages, shared_memory=True)


def post(client: TestClient, **fields: str):  # type: ignore[no-untyped-def]  # the client's own response type
    return client.post("/v1/audio/transcriptions", files=FILE, data=fields)


DATA = "data: "
STREAM_END = "[DONE]"


def events_of(text: str) -> list[dict[str, Any]]:
    """The events of a stream that ends as it should."""
    *lines, end, nothing = text.split("\n\n")
    assert (end, nothing) == (DATA + STREAM_END, "")
    return [json.loads(line.removeprefix(DATA)) for line in lines if line.startswith(DATA)]


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def wait_for_work(asked: TranscriptionService) -> None:
    """Until a request has its first slot."""
    wait_until(lambda: bool(asked.admission.in_use))


@contextmanager
def multilingual_client(directory: Path, stages: ScriptedStages) -> Iterator[TestClient]:
    """A client of an ingress with these stages, whose model knows English, German and Chinese."""
    model = make_multilingual_model(directory / "model", languages=("en", "de", "zh"))
    (directory / "shm").mkdir()
    with TestClient(create_app(service(stages, directory / "shm", model))) as client:
        yield client
