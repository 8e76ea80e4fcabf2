"""Processes die while requests are under way; no request may be lost or get another one's words."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from service_helpers import AUDIO, is_ready, replicas, slots_in_use, wait_until

CLIPS = sorted(path.name for path in AUDIO.glob("*.wav"))
ROUNDS = 4
CLIENTS = 8


def text(url: str, name: str) -> str:
    with (AUDIO / name).open("rb") as file:
        answer = requests.post(f"{url}/v1/audio/transcriptions", files={"file": file}, timeout=90)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


def statistics(url: str, stage: str) -> dict[str, float]:
    return dict(requests.get(f"{url}/stats/stages", timeout=5).json()[stage])


@pytest.fixture(scope="module")
def alone(service: str) -> dict[str, str]:
    return {name: text(service, name) for name in CLIPS}


@pytest.mark.parametrize(
    ("deployment", "stage"),
    [("MelPreprocessor", "stage1_load_mel"), ("Encoder", "stage2_encoder"), ("Decoder", "stage3_decoder_align")],
)
def test_a_killed_stage_costs_time_but_no_request(
    service: str, alone: dict[str, str], deployment: str, stage: str
) -> None:
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
        # Stopped first, so that it dies with a call on its hands.
        victim.suspend()
        wait_until(lambda: statistics(service, stage)["input_queue_size"] > 0, 20)
        victim.kill()
        assert dict(zip(names, answers, strict=True)) == alone
    wait_until(lambda: slots_in_use(service) == 0, 30)
    wait_until(lambda: is_ready(service))
    assert statistics(service, stage)["total_retries"] > 0
