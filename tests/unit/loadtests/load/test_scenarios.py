"""The load tests' own judgement: figures, criteria, estimates, and the schedule of an open loop."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest

from loadtests.common.speech import synthetic
from loadtests.load.estimates import histogram_percentile, percentile, slope
from loadtests.load.scenarios import sampling
from loadtests.load.scenarios.__main__ import main
from loadtests.load.scenarios.judgement import FIGURES, judge_recording
from loadtests.load.scenarios.phases import holds, played_phases
from loadtests.load.scenarios.plan import Phase, StepLimit, at_least, at_most, scenarios
from loadtests.load.scenarios.recording import VERDICTS, Recording, Rest, read_recording, recorded
from loadtests.load.scenarios.schedule import due_times
from loadtests.load.scenarios.traffic import draw_orders, mean_audio_s
from tests.support.recorded_load import (
    CALIBRATED,
    EPOCH,
    SERVICE_S,
    recording,
    request,
    requests,
    scenario,
    snapshots,
    write,
)

INFINITY = math.inf
SPEECH = synthetic()


def figure(name: str, one: Recording) -> float | None:
    return FIGURES[name].compute(one)


def test_arrivals_come_at_the_rate_of_their_phase_whatever_happens_to_them() -> None:
    phases = (Phase("slow", 2.0, 2.0), Phase("fast", 10.0, 0.5))
    arrivals = [(phase.name, round(at, 9)) for phase, at in due_times(phases)]
    assert arrivals == [
        *(("slow", at) for at in (0.0, 0.5, 1.0, 1.5)),
        *(("fast", at) for at in (2.0, 2.1, 2.2, 2.3, 2.4)),
    ]


@pytest.mark.parametrize("edition", ["full", "short"])
def test_every_criterion_is_about_a_figure_that_exists_and_every_run_is_bounded(edition: str) -> None:
    plans = scenarios("short" if edition == "short" else "full")
    assert [plan.name for plan in plans] == ["steady", "burst", "ramp", "mixed", "overload", "soak"]
    assert all(criterion.figure in FIGURES for plan in plans for criterion in plan.criteria)
    assert all(plan.seconds <= (80 if edition == "short" else 1800) for plan in plans)


def test_a_plan_in_multiples_of_the_capacity_becomes_one_in_requests_a_second() -> None:
    plan = scenario("overload", Phase("calm", 0.5, 1.0), Phase("overload", 3.0, 1.0), times_capacity=True)
    fast = dataclasses.replace(CALIBRATED, capacity=60.0)
    resolved = plan.at(fast, mean_s=fast.mean_clip_s)
    assert [phase.rate for phase in resolved.phases] == [30.0, 180.0]
    assert not resolved.times_capacity


def test_a_mix_of_longer_files_comes_at_a_lower_rate_in_proportion() -> None:
    plan = scenario("mixed", Phase("mixed", 0.5, 1.0), times_capacity=True)
    assert plan.at(CALIBRATED, mean_s=2 * CALIBRATED.mean_clip_s).phases[0].rate == pytest.approx(2.5)


def test_a_slow_service_is_given_longer_phases_and_a_deadline_that_fits_it() -> None:
    slow = dataclasses.replace(CALIBRATED, request_s=1.5, capacity=1.6)
    plan = scenario("overload", Phase("overload", 3.0, 15.0, turns=8), times_capacity=True, deadline_turns=4)
    assert plan.at(slow, slow.mean_clip_s).phases[0].seconds == pytest.approx(8 * 10.0)
    assert plan.at(slow, slow.mean_clip_s).deadline_s == pytest.approx(4 * 10.0)
    assert plan.at(CALIBRATED, CALIBRATED.mean_clip_s).phases[0].seconds == 15.0


def test_a_plan_in_requests_a_second_stays_as_it_is() -> None:
    assert scenario().at(CALIBRATED, mean_s=1.0) == scenario()


def test_mixed_traffic_is_the_same_every_time_and_has_everything_in_it() -> None:
    first, again = (list(itertools.islice(draw_orders("mixed", SPEECH), 2000)) for _ in range(2))
    described = [(order.clip, order.kind, order.priority) for order in first]
    assert described == [(order.clip, order.kind, order.priority) for order in again]
    assert {order.size for order in first} == {"short", "long", "minutes"}
    assert {order.kind for order in first} == {"plain", "stream", "hang up"}
    assert Counter(order.priority for order in first).keys() == {"high", "normal", "low"}
    assert {order.clip for order in first} <= {file.name for file in SPEECH.files}
    assert all((b'name="stream"\r\n\r\ntrue' in order.upload.body) == (order.kind == "stream") for order in first[:200])


def test_every_clip_comes_with_every_priority() -> None:
    drawn = {(order.clip, order.priority) for order in itertools.islice(draw_orders("priorities", SPEECH), 400)}
    assert len(drawn) == 3 * len({clip for clip, _ in drawn}) == 36


def test_the_mean_length_of_a_mix_weighs_its_sizes() -> None:
    assert mean_audio_s("short", SPEECH) == pytest.approx(sum(clip.seconds for clip in SPEECH.clips) / 12)
    drawn = [order.clip for order in itertools.islice(draw_orders("mixed", SPEECH), 4000)]
    seconds = {file.name: file.seconds for file in SPEECH.files}
    assert mean_audio_s("mixed", SPEECH) == pytest.approx(np.mean([seconds[name] for name in drawn]), rel=0.1)


def test_percentiles_of_a_histogram_are_linear_within_a_bucket() -> None:
    bounds = (0.1, 0.2, 0.4, INFINITY)
    assert histogram_percentile(bounds, (10, 20, 20, 20), 50) == pytest.approx(0.1)
    assert histogram_percentile(bounds, (10, 20, 20, 20), 75) == pytest.approx(0.15)
    assert histogram_percentile(bounds, (0, 0, 10, 10), 50) == pytest.approx(0.3)
    assert histogram_percentile(bounds, (0, 0, 0, 10), 99) == 0.4
    assert histogram_percentile(bounds, (0, 0, 0, 0), 50) is None
    assert histogram_percentile((), (), 50) is None
    assert percentile([], 50) is None


def test_the_slope_of_a_line_is_its_slope_and_noise_widens_the_interval() -> None:
    times = np.arange(600.0)
    line = slope(times.tolist(), (5 + 0.25 * times).tolist())
    assert line is not None
    assert (line.lower, line.value, line.upper) == pytest.approx((0.25, 0.25, 0.25))
    noise = np.random.default_rng(3).normal(0, 20, times.size)
    noisy = slope(times.tolist(), (5 + 0.25 * times + noise).tolist())
    assert noisy is not None
    assert noisy.lower < 0.25 < noisy.upper
    assert noisy.upper - noisy.lower > 0.001
    assert slope([1.0] * 9, [1.0] * 9) is None


def test_an_interval_of_slopes_covers_the_truth_although_neighbouring_samples_depend_on_each_other() -> None:
    rng, times, covered = np.random.default_rng(5), np.arange(600.0), 0
    for _ in range(200):
        steps_ = rng.normal(0, 1, times.size)
        noise = np.convolve(steps_, 0.9 ** np.arange(40), mode="same")
        trend = slope(times.tolist(), noise.tolist())
        assert trend is not None
        covered += trend.lower <= 0 <= trend.upper
    assert covered >= 170


def test_a_sound_recording_meets_its_criteria() -> None:
    plan = scenario(criteria=(at_most("wrong", 0), at_most("p95_ms", 1000), at_least("offered_ratio", 0.99)))
    verdicts = judge_recording(recording(plan))
    assert [verdict.passed for verdict in verdicts] == [True, True, True]
    assert verdicts[1].value == pytest.approx(1000 * SERVICE_S)


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"outcome": "wrong", "code": "wrong_text"}, "wrong", 1),
        ({"outcome": "error", "status": 0}, "errors", 1),
        ({"outcome": "late", "status": 504, "seconds": 59.0}, "errors", 0),
        ({"outcome": "late", "status": 504, "seconds": 59.0}, "over_deadline", 1),
        ({"seconds": 60.6}, "over_deadline", 1),
        ({"seconds": 60.4}, "over_deadline", 0),
        ({"outcome": "refused", "status": 503}, "refused", 1),
        ({"outcome": "refused", "status": 503}, "without_retry_after", 1),
        ({"outcome": "refused", "status": 503, "retry_after_s": 2.0}, "without_retry_after", 0),
        ({"outcome": "refused", "status": 503}, "foreseen_ratio", 1),
        ({"outcome": "late", "status": 504}, "foreseen_ratio", 0),
        ({"outcome": "hung up", "status": 0}, "errors", 0),
    ],
)
def test_one_bad_request_is_counted(changes: dict[str, object], name: str, value: float) -> None:
    plan = scenario()
    sent = requests(plan)
    sent[7] = dataclasses.replace(sent[7], **changes)  # type: ignore[arg-type]
    assert figure(name, recording(plan, sent)) == value


def test_a_generator_that_falls_behind_is_found_out() -> None:
    plan = scenario()
    late = [
        dataclasses.replace(one, began=one.due + 0.02 * number) for number, one in enumerate(requests(plan), start=1)
    ]
    one = recording(plan, late)
    ratio, delay = figure("offered_ratio", one), figure("late_p99_ms", one)
    assert ratio == pytest.approx(1 / 1.2)
    assert delay is not None
    assert delay > 3000


def test_what_cannot_be_measured_is_not_met() -> None:
    one = recording(scenario(criteria=(at_most("memory_slope_upper", 1e9),)), seen=[])
    assert [(verdict.value, verdict.passed) for verdict in judge_recording(one)] == [(None, False)]


@pytest.mark.parametrize(
    ("rest", "left"),
    [(Rest(0, 0, 0, True, 0.0), 0), (Rest(1, 2, 3, True, 20.0), 6), (Rest(0, 0, 0, False, 20.0), 1)],
)
def test_what_is_left_over_is_counted(rest: Rest, left: int) -> None:
    assert figure("left_over", recording(scenario(), rest=rest)) == left


def ramp() -> Recording:
    """Steps of 10, 20 and 30 requests/s; the last one is slow."""
    phases = tuple(Phase(f"{rate}/s", float(rate), 2.0) for rate in (10, 20, 30))
    plan = scenario("ramp", *phases, step_limit=StepLimit(p95_ratio=4))
    sent = [
        dataclasses.replace(one, seconds=0.9, began=one.due + 0.4) if one.phase == "30/s" else one
        for one in requests(plan)
    ]
    return recording(plan, sent)


def test_the_capacity_is_the_highest_step_that_was_served() -> None:
    one = ramp()
    assert figure("capacity", one) == 20.0
    assert [(phase.name, phase.held) for phase in played_phases(one)] == [
        ("10/s", True),
        ("20/s", True),
        ("30/s", False),
    ]
    assert played_phases(one)[0].answered == pytest.approx(9.5, abs=0.6)


def test_latencies_are_judged_in_multiples_of_a_request_alone() -> None:
    one = recording(scenario(), [request(0.1 * number, seconds=0.25) for number in range(100)])
    assert figure("p95_ratio", one) == figure("short_p95_ratio", one) == pytest.approx(2.5)
    slower = dataclasses.replace(one, calibration=dataclasses.replace(CALIBRATED, request_s=1.0))
    assert figure("p99_ratio", slower) == pytest.approx(0.25)


def test_what_was_served_is_judged_against_the_capacity() -> None:
    assert figure("served_ratio", ramp()) == pytest.approx(2.0)


def test_no_limit_of_a_scenario_is_the_latency_or_the_rate_of_one_model() -> None:
    of_a_model = {"p50_ms", "p95_ms", "p99_ms", "last_p95_ms", "short_p95_ms", "capacity", "cpu_ms"}
    judged = {criterion.figure for plan in scenarios("full") for criterion in plan.criteria}
    assert not judged & of_a_model
    assert all(plan.times_capacity for plan in scenarios("full"))


def test_a_step_beyond_the_capacity_says_nothing_about_the_generator() -> None:
    assert figure("late_p99_ms", ramp()) == pytest.approx(0.0)


def test_one_request_unanswered_breaks_a_step() -> None:
    limit = StepLimit(p95_ratio=4)
    good = [request(0.1 * number) for number in range(100)]
    refused = dataclasses.replace(good[0], outcome="refused")
    assert holds(good, limit, SERVICE_S)
    assert not holds(good, limit, SERVICE_S / 5), "for a service that needs less alone this is slow"
    assert not holds([refused, *good[1:]], limit, SERVICE_S)
    assert not holds([], limit, SERVICE_S)


def test_overload_is_judged_against_the_capacity_it_is_a_multiple_of() -> None:
    plan = scenario("overload", Phase("calm", 5.0, 4.0), Phase("overload", 30.0, 10.0), Phase("after", 5.0, 4.0))
    sent = requests(plan)
    refused = [
        dataclasses.replace(one, outcome="refused", status=503, retry_after_s=1.0, seconds=0.01)
        if one.phase == "overload" and number % 4
        else one
        for number, one in enumerate(sent)
    ]
    one = recording(plan, refused)
    assert figure("goodput_ratio", one) == pytest.approx(0.75, abs=0.02)
    assert figure("refusal_p50_ms", one) == pytest.approx(10.0)
    assert figure("last_refused", one) == 0


def test_figures_of_the_service_are_differences_of_its_counters() -> None:
    one = recording(scenario())
    assert figure("hit_ratio", one) == pytest.approx(0.9)
    assert figure("encoder_batch", one) == pytest.approx(2.0)
    assert figure("queue_wait_p99_ms", one) == pytest.approx(1 + 99 * 0.9)
    assert figure("cpu_ms", one) == pytest.approx(50.0)


def test_memory_that_grows_is_found_and_its_warm_up_is_left_out() -> None:
    growing = recording(scenario(warm_up_s=5.0), seen=snapshots(60.0, mib_a_second=0.1))
    assert figure("memory_slope", growing) == pytest.approx(360.0)
    flat = recording(scenario(warm_up_s=5.0), seen=snapshots(60.0))
    assert figure("memory_slope_upper", flat) == pytest.approx(0.0, abs=1e-6)
    early = [
        dataclasses.replace(one, memory_mib={"Encoder": 50.0 + 10 * min(one.at - EPOCH, 5.0)})
        for one in snapshots(60.0)
    ]
    assert figure("memory_slope", recording(scenario(warm_up_s=5.0), seen=early)) == pytest.approx(0.0, abs=1e-6)


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = scenario(criteria=(at_most("refused", 0),))
    sent = requests(plan)
    sent[3] = dataclasses.replace(sent[3], outcome="refused", status=503, code="queue_full", retry_after_s=2.0)
    one = recording(plan, sent)
    run = write(tmp_path / "run", one)
    assert recorded(run) == [run / "steady"]
    again = read_recording(run / "steady")
    assert (again.scenario, again.requests, again.rest) == (one.scenario, one.requests, one.rest)
    assert again.snapshots == one.snapshots
    assert [verdict["passed"] for verdict in json.loads((run / "steady" / VERDICTS).read_text())] == [False]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--url", "http://127.0.0.1:1"], "soak weighs the service's processes"),
        (["soak", "--url", "http://127.0.0.1:1"], "soak weighs the service's processes"),
        (["sprint"], "no such scenario: sprint; there are steady"),
    ],
)
def test_what_cannot_be_run_is_refused(
    arguments: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["scenarios", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_sampling_goes_on_when_the_load_generator_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "read_metrics", lambda _url: {})
    monkeypatch.setattr(sampling, "PERIOD_S", 0.01)
    with subprocess.Popen(["true"]) as generator:
        others = {"load generator": psutil.Process(generator.pid), "sampler": psutil.Process()}
    sampler = sampling.Sampler("http://unused", tmp_path / "samples", None, others)
    sampler.start()
    time.sleep(0.1)
    sampler.stop()
    lines = [json.loads(line) for line in (tmp_path / "samples").read_text(encoding="utf-8").splitlines()]
    assert len(lines) > 1
    assert all(set(line["cpu_s"]) == {"sampler"} for line in lines)
