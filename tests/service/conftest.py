"""One running service for all tests here: Ray, HTTP and the demo model, started as a user starts it.

It serves the graph several times: pipelined at ``/``, in sequential mode, with arrays in Ray's object store, and on a
simulated NPU, with and without the CPU to stand in for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from openai import OpenAI

from loadtests.common.service_process import Application, running
from tests.support.service_helpers import AUDIO, MAX_UPLOAD_BYTES, SimulatedNpu, client_of
from tests.support.trace_collector import Collector, collecting


@pytest.fixture(scope="session")
def npus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SimulatedNpu]:
    """The simulated devices, by the route of their application."""
    directory = tmp_path_factory.mktemp("npu")
    return {route: SimulatedNpu(directory / f"{route[1:]}.json") for route in ("/npu", "/npu-or-cpu")}


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Gets the traces of the application at ``/object-store``."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="session")
def service(
    tmp_path_factory: pytest.TempPathFactory, npus: dict[str, SimulatedNpu], collector: Collector
) -> Iterator[str]:
    """The base URL of a ready service; afterwards it must stop cleanly."""
    shared_memory = tmp_path_factory.mktemp("shm")
    limits = {"max_upload_bytes": MAX_UPLOAD_BYTES, "failure_log_dir": str(tmp_path_factory.mktemp("failures"))}
    # The simulator computes on the cores that all these services share: to encode again takes it longer than a device.
    simulated = {"device": "npu", "npu_simulator": True, "encoder_budget_s": 15.0}
    npu = {route: {**simulated, "npu_scenario": str(npus[route].path)} for route in npus}
    applications = [
        Application("amanuensis", "/", {**limits, "shared_memory_dir": str(shared_memory)}),
        Application("sequential", "/sequential", {**limits, "enable_pipeline": False}),
        Application(
            "object-store",
            "/object-store",
            {**limits, "handoff": "object_store", "encoder_replicas": 2, "otlp_endpoint": collector.url},
        ),
        Application("npu", "/npu", {**npu["/npu"], "decoder_replicas": 2}),
        Application("npu-or-cpu", "/npu-or-cpu", {**npu["/npu-or-cpu"], "on_device_failure": "cpu"}),
        Application("base", "/base", {**limits, "whisper_model": "base", "max_upload_bytes": 64 * 2**20}),
    ]
    with ThreadPoolExecutor() as clients:
        with running(applications) as base_url:
            assert list(shared_memory.iterdir()), "the slab lives in the configured directory"
            yield base_url
            before = enqueued(base_url)
            last = [clients.submit(transcribe_long_file, base_url) for _ in range(8)]
            while enqueued(base_url) < before + len(last):
                time.sleep(0.005)
        assert all(request.result() for request in last), "what was accepted before Ctrl-C is answered"
    assert list(shared_memory.iterdir()) == [], "a stopped service leaves nothing in shared memory"


def transcribe_long_file(base_url: str) -> str:
    with client_of(base_url) as client, (AUDIO / "12_flite-rms-long.wav").open("rb") as file:
        return client.audio.transcriptions.create(file=file, model="whisper-1").text


def enqueued(base_url: str) -> int:
    """Requests that were let in since the start."""
    return int(requests.get(f"{base_url}/stats/pipeline", timeout=5).json()["queue"]["total_enqueued"])


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
