"""One running service for all tests here; see ``tests/support/shared_service.py``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.support.background_service import SERVICE, BackgroundService
from tests.support.paths import AUDIO
from tests.support.service_helpers import SimulatedNpu, client_of
from tests.support.shared_service import NPU_ROUTES, SharedService
from tests.support.trace_collector import RemoteCollector


def is_worker(config: pytest.Config) -> bool:
    """Whether this process was started by another pytest, which has the service."""
    return hasattr(config, "workerinput")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the service before any worker starts."""
    if not is_worker(session.config) and not session.config.option.collectonly:
        session.config.stash[SERVICE] = BackgroundService()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the service; a service that does not stop as it should fails the tests."""
    service = session.config.stash.get(SERVICE, None)
    if service is not None and (failure := service.stop()):
        print(failure)  # noqa: T201
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def shared() -> SharedService:
    """The running service."""
    return SharedService.find()


@pytest.fixture(scope="session")
def service(shared: SharedService) -> str:
    """The base URL of the running service."""
    return shared.url


@pytest.fixture(scope="session")
def human(service: str) -> str:
    """The base URL of the application that serves real Whisper."""
    return f"{service}/base"


@pytest.fixture(scope="session")
def real(human: str) -> Iterator[OpenAI]:
    """OpenAI's client of real Whisper."""
    with client_of(human) as client:
        yield client


@pytest.fixture(scope="session")
def npus(shared: SharedService) -> dict[str, SimulatedNpu]:
    """The simulated devices, by the route of their application."""
    return {route: shared.npu(route) for route in NPU_ROUTES}


@pytest.fixture(scope="session")
def collector(shared: SharedService) -> RemoteCollector:
    """Gets the traces of the application at ``/object-store``."""
    return RemoteCollector(shared.collector)


@pytest.fixture(scope="session")
def client(service: str) -> Iterator[OpenAI]:
    """The official client, pointed at the pipelined service."""
    with client_of(service) as client:
        yield client


@pytest.fixture(scope="session")
def spoken() -> dict[str, str]:
    """File name -> the words spoken in it."""
    lines = (AUDIO / "transcripts.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return {name: text for name, _, text in (line.split("\t") for line in lines)}
