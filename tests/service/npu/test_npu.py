"""The service on an NPU that is simulated: real audio through its driver, and everything that can go wrong with it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jiwer
import pytest
import requests

from loadtests.benchmarks.parts.words import words
from tests.support.paths import AUDIO
from tests.support.service_helpers import SimulatedNpu, is_ready, replicas, slots_in_use, wait_until

CLIPS = sorted(path.name for path in AUDIO.glob("*.wav"))
NPU = "npu:xdna2-bf16-simulated"
CPU = "cpu:openvino"

EXTRA_WER = 0.02
"""What bf16 on the NPU may cost on 14 clips; the larger set of docs/performance.md shows none."""

ONCE = (
    "run_hangs",
    "run_aborts",
    "run_errs",
    "instructions_missing",
    "output_zeros",
    "output_constant",
    "output_nan",
)

FOR_GOOD: dict[str, list[dict[str, Any]]] = {
    "every output is zeros": [{"kind": "output_zeros"}],
    "no memory is left after a hanging run": [{"kind": "run_hangs", "at": [5]}, {"kind": "allocation_fails"}],
}
"""One that is noticed in the product, one by the driver. What else fails is tested without a service: test_xrt_gemm."""

NO_TDR_S = 10.0
"""Longer than the service waits for a run, so that a late one is not killed before it ends."""


def post(url: str, name: str = CLIPS[0], *, within_s: int = 60, **fields: str) -> requests.Response:
    headers = {"x-timeout-seconds": str(within_s)}
    with (AUDIO / name).open("rb") as file:
        return requests.post(
            f"{url}/v1/audio/transcriptions", files={"file": file}, data=fields, headers=headers, timeout=60
        )


def texts(url: str, names: list[str]) -> dict[str, str]:
    """Sixteen at a time; each must be answered, by the NPU."""
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda name: post(url, name), names))
    assert [answer.status_code for answer in answers] == [200] * len(names), [answer.text for answer in answers]
    assert {answer.headers["x-encoder-device"] for answer in answers} == {NPU}
    return {name: answer.json()["text"] for name, answer in zip(names, answers, strict=True)}


def kill_encoder(url: str) -> None:
    """Returns once the service at ``url`` knows; Serve starts another."""
    (encoder,) = replicas("npu", "Encoder")
    encoder.kill()
    wait_until(lambda: encoder not in replicas("npu", "Encoder"))
    wait_until(lambda: not is_ready(url), 10)


def restart_encoder(url: str) -> None:
    """Returns when another encoder serves."""
    kill_encoder(url)
    wait_until(lambda: is_ready(url))


def recoveries(url: str) -> int:
    return int(requests.get(f"{url}/health", timeout=5).json()["device_recoveries"])


def readiness(url: str) -> dict[str, Any]:
    return dict(requests.get(f"{url}/health/ready", timeout=5).json())


@pytest.fixture(scope="module")
def npu_url(service: str) -> str:
    return f"{service}/npu"


@pytest.fixture(scope="module")
def cpu_url(service: str) -> str:
    """An application that the other tests neither count nor overload."""
    return f"{service}/object-store"


@pytest.fixture(scope="module")
def expected(npu_url: str) -> dict[str, str]:
    """The texts of a device that does not fail."""
    return texts(npu_url, CLIPS)


def test_the_text_is_what_was_spoken(cpu_url: str, expected: dict[str, str], spoken: dict[str, str]) -> None:
    said = [words(spoken[name]) for name in CLIPS]
    on_cpu = jiwer.wer(said, [words(post(cpu_url, name).json()["text"]) for name in CLIPS])
    assert jiwer.wer(said, [words(expected[name]) for name in CLIPS]) <= on_cpu + EXTRA_WER


def test_the_device_is_named_everywhere(npu_url: str) -> None:
    answer = post(npu_url, response_format="verbose_json")
    assert answer.headers["x-encoder-device"] == answer.json()["device"] == NPU
    assert requests.get(f"{npu_url}/health", timeout=5).json()["device"] == NPU


@pytest.mark.parametrize("kind", ONCE)
def test_a_run_that_fails_costs_no_request_and_no_word(
    npu_url: str, npus: dict[str, SimulatedNpu], expected: dict[str, str], kind: str
) -> None:
    before = recoveries(npu_url)
    npus["/npu"].fails({"kind": kind, "at": [10]})
    assert texts(npu_url, CLIPS) == expected
    wait_until(lambda: recoveries(npu_url) == before + 1)
    assert is_ready(npu_url)
    assert slots_in_use(npu_url) == 0
    npus["/npu"].works()


@pytest.mark.parametrize("faults", FOR_GOOD.values(), ids=FOR_GOOD)
def test_a_device_that_fails_for_good_says_so_until_it_is_restarted(
    npu_url: str, npus: dict[str, SimulatedNpu], expected: dict[str, str], faults: list[dict[str, Any]]
) -> None:
    npus["/npu"].fails(*faults)
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda name: post(npu_url, name), CLIPS))
    failed = [answer for answer in answers if answer.status_code != 200]
    assert failed
    for answer in failed:
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] in {"device_failed", "device_error", "circuit_open"}
        assert int(answer.headers["retry-after"]) >= 1
    for name, answer in zip(CLIPS, answers, strict=True):
        assert answer.status_code == 503 or answer.json()["text"] == expected[name]

    wait_until(lambda: readiness(npu_url)["status"] == "failed", 10)
    assert readiness(npu_url)["reason"]
    assert not is_ready(npu_url)
    assert requests.get(f"{npu_url}/health/live", timeout=5).ok
    assert requests.get(f"{npu_url}/health", timeout=5).status_code == 503
    npus["/npu"].works()
    began = time.monotonic()
    assert post(npu_url).status_code == 503, "a failed device is not tried again by itself"
    assert time.monotonic() - began < 1.0
    wait_until(lambda: slots_in_use(npu_url) == 0, 10)

    restart_encoder(npu_url)
    assert texts(npu_url, CLIPS) == expected


def test_a_run_that_ends_after_it_was_given_up_reaches_no_transcript(
    npu_url: str, npus: dict[str, SimulatedNpu], expected: dict[str, str]
) -> None:
    npus["/npu"].fails(tdr_s=NO_TDR_S)
    restart_encoder(npu_url)
    npus["/npu"].fails({"kind": "run_late", "at": [10]}, tdr_s=NO_TDR_S)
    # The late run ends, and writes, while its context is given back and the windows are encoded again.
    assert texts(npu_url, CLIPS) == expected
    wait_until(lambda: recoveries(npu_url) == 1)
    assert texts(npu_url, CLIPS) == expected
    assert slots_in_use(npu_url) == 0
    npus["/npu"].works()
    restart_encoder(npu_url)


def test_an_encoder_that_cannot_start_is_red_and_starts_once_it_can(
    npu_url: str, npus: dict[str, SimulatedNpu], expected: dict[str, str]
) -> None:
    npus["/npu"].fails({"kind": "kernel_missing"})
    kill_encoder(npu_url)
    assert readiness(npu_url) == {"status": "unavailable", "reason": "the encoder does not answer"}
    assert requests.get(f"{npu_url}/health/live", timeout=5).ok
    answer = post(npu_url, within_s=1)
    assert answer.status_code in {503, 504}
    assert not is_ready(npu_url), "it does not serve without its device"
    npus["/npu"].works()
    wait_until(lambda: is_ready(npu_url))
    assert texts(npu_url, CLIPS) == expected
    wait_until(lambda: slots_in_use(npu_url) == 0, 10)


def test_a_device_that_is_lost_at_rest_is_noticed_before_a_request_comes(
    npu_url: str, npus: dict[str, SimulatedNpu], expected: dict[str, str]
) -> None:
    answered = requests.get(f"{npu_url}/stats/pipeline", timeout=5).json()["queue"]["total_enqueued"]
    npus["/npu"].fails({"kind": "device_lost", "at": [1]})
    wait_until(lambda: readiness(npu_url)["status"] == "failed", 20)
    assert "No such device" in readiness(npu_url)["reason"]
    assert requests.get(f"{npu_url}/stats/pipeline", timeout=5).json()["queue"]["total_enqueued"] == answered
    npus["/npu"].works()
    restart_encoder(npu_url)
    assert texts(npu_url, CLIPS) == expected


def test_the_cpu_replaces_it_where_the_operator_said_so(
    service: str, cpu_url: str, npus: dict[str, SimulatedNpu]
) -> None:
    url = f"{service}/npu-or-cpu"
    assert post(url).headers["x-encoder-device"] == NPU
    npus["/npu-or-cpu"].fails({"kind": "output_zeros"})
    answers = [post(url, name) for name in CLIPS[:3]]
    assert [answer.status_code for answer in answers] == [200] * 3
    for answer, name in zip(answers, CLIPS, strict=False):
        assert answer.headers["x-encoder-device"].startswith(CPU)
        assert answer.json()["text"] == post(cpu_url, name).json()["text"]
    wait_until(lambda: bool(requests.get(f"{url}/health", timeout=5).json()["status"] == "degraded"), 10)
    health = requests.get(f"{url}/health", timeout=5).json()
    assert "known-answer" in health["reason"]
    assert health["device"].startswith(CPU)
    assert is_ready(url)
