"""More requests than the service can answer: who is answered, and what the others hear."""

from __future__ import annotations

import os
from collections import Counter

import pytest
import requests

from deployments.shared.cpu_priority import STAGE_NICENESS
from loadtests.common.client import make_upload
from loadtests.common.replies import Reply
from loadtests.load.open_loop import Arrival, offer, prepare
from loadtests.load.overload import is_sound
from tests.support.paths import AUDIO
from tests.support.service_helpers import client_of, replicas

DEADLINE_S = 3.0
RATE = 150.0  # several times what one slot can do
SECONDS = 4.0
PRIORITIES = ("high", "normal", "normal", "normal", "normal", "low")


@pytest.fixture(scope="module")
def flood(service: str) -> list[Arrival]:
    """What became of every request of a flood on the application that has a single slot."""
    audio = (AUDIO / "06_flite-rms.wav").read_bytes()
    uploads = {name: make_upload(audio, priority=name, deadline_s=DEADLINE_S) for name in set(PRIORITIES)}
    requests_ = [prepare(name, f"{service}/sequential", uploads[name]) for name in PRIORITIES]
    return offer(service, requests_, rate=RATE, seconds=SECONDS).arrivals


def replies(flood: list[Arrival]) -> list[Reply]:
    return [arrival.reply for arrival in flood]


def test_everybody_hears_and_who_is_refused_is_told_when_to_come_back(flood: list[Arrival]) -> None:
    statuses = Counter(reply.status for reply in replies(flood))
    assert set(statuses) <= {200, 503, 504}, statuses
    assert all(is_sound(reply) for reply in replies(flood))
    refusals = [reply for reply in replies(flood) if reply.status == 503]
    assert all(reply.retry_after_s is not None and reply.code for reply in refusals)
    assert {reply.code for reply in refusals} <= {"overloaded", "queue_full", "queue_timeout"}


def test_most_are_refused_rather_than_left_to_wait_in_vain(flood: list[Arrival]) -> None:
    codes = Counter(reply.code for reply in replies(flood) if reply.status != 200)
    too_late = codes["queue_timeout"] + codes["deadline_exceeded"]
    assert codes.total() - too_late > 2 * too_late, codes


def test_high_priority_is_served_first(flood: list[Arrival]) -> None:
    answered = Counter(arrival.kind for arrival in flood if arrival.reply.status == 200)
    asked = Counter(arrival.kind for arrival in flood)
    assert answered["high"] / asked["high"] > answered["normal"] / asked["normal"], answered
    assert answered["high"] / asked["high"] > answered["low"] / asked["low"], answered


def test_the_service_is_well_afterwards(flood: list[Arrival], service: str) -> None:
    assert flood
    queue = requests.get(f"{service}/sequential/stats/pipeline", timeout=5).json()["queue"]
    assert queue["current_size"] == 0
    assert queue["total_dropped"] > 0
    with client_of(f"{service}/sequential") as client, (AUDIO / "06_flite-rms.wav").open("rb") as file:
        assert client.audio.transcriptions.create(file=file, model="whisper-1").text


@pytest.mark.parametrize("deployment", ["MelPreprocessor", "Encoder", "Decoder"])
def test_every_thread_of_a_stage_gives_way_to_the_ingress(service: str, deployment: str) -> None:
    assert service
    (stage,) = replicas("amanuensis", deployment)
    (ingress,) = replicas("amanuensis", "Ingress")
    threads = [os.getpriority(os.PRIO_PROCESS, thread.id) for thread in stage.threads()]
    assert set(threads) == {STAGE_NICENESS}
    assert ingress.nice() < STAGE_NICENESS
