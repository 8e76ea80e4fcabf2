"""Processes die while requests are under way; no request may be lost or get another one's words."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.support.paths import AUDIO
from tests.support.service_helpers import is_ready, replicas, slots_in_use, wait_until

CLIPS = sorted(path.name for path in AUDIO.glob("*.wav"))
ROUNDS = 4
CLIENTS = 8


def text(url: str, name: str) -> str:
    with (AUDIO / name).open("rb") as file:
        answer = requests.post(f"{url}/v1/audio/transcriptions", files={"file": file}, timeout=90)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


@pytest.fixture(scope="module")
def alone(service: str) -> dict[str, str]:
    return {name: text(service, name) for name in CLIPS}


@pytest.mark.parametrize("deployment", ["MelPreprocessor", "Encoder", "Decoder"])
def test_a_killed_stage_costs_time_but_no_request(service: str, alone: dict[str, str], deployment: str) -> None:
    names = CLIPS * ROUNDS
    under_way = threading.Barrier(2)

    def client(index: int) -> str:
        if index == CLIENTS:
            under_way.wait(30)
        return text(service, names[index])

    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = clients.map(client, range(len(names)))
        under_way.wait(30)
        (victim,) = replicas("amanuensis", deployment)
        victim.kill()
        assert dict(zip(names, answers, strict=True)) == alone
    wait_until(lambda: slots_in_use(service) == 0, 30)
    wait_until(lambda: is_ready(service))


def test_of_two_encoders_one_serves_on_when_the_other_dies(service: str, alone: dict[str, str]) -> None:
    url = f"{service}/object-store"
    wait_until(lambda: health(url)["status"] == "healthy")
    (victim,) = replicas("object-store", "Encoder2")
    victim.kill()
    wait_until(lambda: health(url)["status"] == "degraded", 10)
    assert "encoder 2 of 2" in health(url)["reason"]
    assert is_ready(url), "some encoders are enough to serve"
    with ThreadPoolExecutor(CLIENTS) as clients:
        assert dict(zip(CLIPS, clients.map(lambda name: text(url, name), CLIPS), strict=True)) == alone
    wait_until(lambda: health(url)["status"] == "healthy")


def health(url: str) -> dict[str, Any]:
    return dict(requests.get(f"{url}/health", timeout=5).json())


def test_lost_calls_were_made_again(service: str) -> None:
    stages = requests.get(f"{service}/stats/stages", timeout=5).json().values()
    assert sum(stage["total_retries"] for stage in stages) > 0
