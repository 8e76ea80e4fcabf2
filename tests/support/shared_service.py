"""One running service for all service tests, whichever process runs them.

``pytest --numprocesses 3`` runs tests in three processes. The one that started them starts the service beside them
(``tests/support/background_service.py``), tells them its address in a file, and stops it when they are done with it.

It serves the graph several times: pipelined at ``/``, in sequential mode, with arrays in Ray's object store, with the
real Whisper base, and on a simulated NPU, with and without the CPU as its replacement.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from deployments.shared.cores import defaults_for
from loadtests.common.service_process import Application, started
from tests.support.background_service import VARIABLE
from tests.support.paths import AUDIO
from tests.support.service_helpers import MAX_UPLOAD_BYTES, SimulatedNpu, client_of
from tests.support.trace_collector import collecting

NPU_ROUTES = ("/npu", "/npu-or-cpu")
LAST_REQUESTS = 8
LOOK_S = 0.2
FAILURE = "failure"
SPARING = {
    # Instead of every tenth of a second: what 26 replicas count, and Serve's looks at them, take a quarter of a core.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.4",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "2000",
    # Ray would start a worker per core for tasks, of which there are none.
    "RAY_prestart_worker_first_driver": "0",
}
"""Environment of the service that takes less CPU from the tests."""


@dataclass(frozen=True)
class SharedService:
    """What a test needs to know of the service.

    Attributes:
        url: its base URL.
        launcher: process id of the program that started it.
        npu_scenarios: directory of the scenario files of the simulated NPUs.
        collector: base URL of the collector that gets the traces of the application at ``/object-store``.
    """

    url: str
    launcher: int
    npu_scenarios: str
    collector: str

    @classmethod
    def find(cls) -> SharedService:
        """Return the service that was started for these tests, once it is ready.

        Raises:
            RuntimeError: none was, since the tests were not named on the command line; or it did not become ready.
        """
        if VARIABLE not in os.environ:
            raise RuntimeError("no service runs for the tests: name their directory, as in `pytest tests/service`")
        address = Path(os.environ[VARIABLE])
        while not address.exists():
            time.sleep(LOOK_S)
        told = json.loads(address.read_text(encoding="utf-8"))
        if FAILURE in told:
            raise RuntimeError(f"the service for the tests failed:\n{told[FAILURE]}")
        return cls(**told)

    def npu(self, route: str) -> SimulatedNpu:
        """Return the simulated device of the application at ``route``."""
        return SimulatedNpu(scenario(Path(self.npu_scenarios), route))


def tell(address: Path, news: SharedService | str) -> None:
    """Tell those who wait for the service where it is, or why it is not."""
    new = address.with_suffix(".new")
    new.write_text(json.dumps({FAILURE: news} if isinstance(news, str) else asdict(news)), encoding="utf-8")
    new.replace(address)


@contextmanager
def serving() -> Iterator[SharedService]:
    """Start the service; afterwards it must stop cleanly, answer what it accepted, and leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="amanuensis-tests-") as name, collecting() as collector:
        directory = Path(name)
        for part in ("shm", "npu", "failures"):
            (directory / part).mkdir()
        with ThreadPoolExecutor() as clients:
            with started(applications(directory, collector.url), variables=SPARING) as service:
                assert list((directory / "shm").iterdir()), "the slab lives in the configured directory"
                yield SharedService(service.url, service.process.pid, str(directory / "npu"), collector.url)
                before = enqueued(service.url)
                last = [clients.submit(transcribe_long_file, service.url) for _ in range(LAST_REQUESTS)]
                while enqueued(service.url) < before + len(last):
                    time.sleep(0.005)
            assert all(request.result() for request in last), "what was accepted before Ctrl-C is answered"
        assert list((directory / "shm").iterdir()) == [], "a stopped service leaves nothing in shared memory"


def applications(directory: Path, collector: str) -> list[Application]:
    """Return what the service serves."""
    two_cores = asdict(defaults_for(2))  # every machine tests the same graph, with one replica where one is expected
    limits = {**two_cores, "max_upload_bytes": MAX_UPLOAD_BYTES, "failure_log_dir": str(directory / "failures")}
    # The simulator computes on the cores that all these services share: to encode again takes it longer than a device.
    simulated = {**two_cores, "device": "npu", "npu_simulator": True, "encoder_budget_s": 15.0}
    npu = {route: {**simulated, "npu_scenario": str(scenario(directory / "npu", route))} for route in NPU_ROUTES}
    for route in NPU_ROUTES:
        SimulatedNpu(scenario(directory / "npu", route))
    return [
        Application("amanuensis", "/", {**limits, "shared_memory_dir": str(directory / "shm")}),
        Application("sequential", "/sequential", {**limits, "enable_pipeline": False}),
        Application(
            "object-store",
            "/object-store",
            {**limits, "handoff": "object_store", "encoder_replicas": 2, "otlp_endpoint": collector},
        ),
        Application("npu", "/npu", {**npu["/npu"], "decoder_replicas": 2}),
        Application("npu-or-cpu", "/npu-or-cpu", {**npu["/npu-or-cpu"], "on_device_failure": "cpu"}),
        Application("base", "/base", {**limits, "whisper_model": "base", "max_upload_bytes": 64 * 2**20}),
    ]


def scenario(directory: Path, route: str) -> Path:
    """Return the scenario file of the simulated device at ``route``."""
    return directory / f"{route[1:]}.json"


def transcribe_long_file(base_url: str) -> str:
    """Return the text of a clip of several windows."""
    with client_of(base_url) as client, (AUDIO / "12_flite-rms-long.wav").open("rb") as file:
        return client.audio.transcriptions.create(file=file, model="whisper-1").text


def enqueued(base_url: str) -> int:
    """Return how many requests were let in since the start."""
    return int(requests.get(f"{base_url}/stats/pipeline", timeout=5).json()["queue"]["total_enqueued"])
