"""What the service tests share beside the running service."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
from numpy.typing import NDArray
from openai import OpenAI
from whisper_normalizer.english import EnglishTextNormalizer

from deployments.mel.decoding import decode
from deployments.mel.track_decoding import AudioLimits
from loadtests.common.wav import wav_of

MAX_UPLOAD_BYTES = 4 * 2**20
CORPUS = "SPEECH_CORPUS"

_normalizer = EnglishTextNormalizer()


def client_of(base_url: str) -> OpenAI:
    """The official client, pointed at our service."""
    return OpenAI(base_url=f"{base_url}/v1", api_key="unused", max_retries=0, timeout=60)


class SimulatedNpu:
    """The scenario file of an application's simulated device."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changes = 0
        self.works()

    def works(self) -> None:
        """Nothing fails from now on."""
        self.fails()

    def fails(self, *faults: dict[str, Any], tdr_s: float = 1.0) -> None:
        """These faults from now on, their calls counted anew.

        Args:
            faults: as in a scenario's file.
            tdr_s: when the driver kills a run; takes effect when the encoder is next started.
        """
        self._changes += 1
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"tdr_s": tdr_s, "faults": faults}), encoding="utf-8")
        os.utime(new, ns=(self._changes, self._changes))
        new.replace(self.path)


def corpus_file(name: str) -> Path:
    """A file of the corpus of human speech; the test is skipped where there is no corpus."""
    if CORPUS not in os.environ:
        pytest.skip(f"{CORPUS} names no corpus of human speech")
    return Path(os.environ[CORPUS]) / name


def normal(text: str) -> str:
    """The words as Whisper's English normaliser writes them."""
    return str(_normalizer(text))


def wav(pcm: NDArray[np.int16]) -> bytes:
    """A file with these samples, 16 kHz mono."""
    return wav_of(pcm.tobytes())


def samples(path: Path) -> NDArray[np.int16]:
    """The samples of a recording, 16 kHz mono."""
    with path.open("rb") as file:
        return decode(file, AudioLimits(max_seconds=3600.0, max_channels=8, max_cpu_s=60.0)).mono


def replicas(application: str, deployment: str) -> list[psutil.Process]:
    """The processes of a deployment, oldest first."""
    mark = f"ray::ServeReplica:{application}:{deployment}"
    found = [process for process in psutil.process_iter(["cmdline"]) if _command(process).startswith(mark)]
    return sorted(found, key=lambda process: float(process.create_time()))


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Fails the test if ``condition`` does not become true."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"still not true after {seconds} s"
        time.sleep(0.1)


def is_ready(url: str) -> bool:
    """Whether the application at ``url`` takes requests."""
    return bool(requests.get(f"{url}/health/ready", timeout=5).ok)


def slots_in_use(url: str) -> int:
    """Of the application at ``url``."""
    return int(requests.get(f"{url}/stats/pipeline", timeout=5).json()["buffers"]["in_use"])


def _command(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or [])
