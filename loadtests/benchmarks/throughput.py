"""The benchmark behind the README's figures: ``make bench`` or ``python -m loadtests.benchmarks.throughput``.

The service pipelined, in sequential mode, and with stages that compute nothing, and the peers: each has the machine to
itself, and they take turns, round after round, so that whatever else the machine does hits all of them alike. Compare
the rows of one run, never figures of two runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jiwer
import requests

from loadtests.benchmarks.figures import spread
from loadtests.benchmarks.peers import PEERS
from loadtests.benchmarks.text import words
from loadtests.benchmarks.whisper_cpp import server as whisper_cpp
from loadtests.common import closed_loop, cpu_time
from loadtests.common.clips import Clip, clips
from loadtests.common.closed_loop import LoadResult
from loadtests.common.service_process import Application, running

ROOT = Path(__file__).parents[2]
CLIENTS = 16
WARM_UP_S = 3.0
SHOWN_MS = 0.01
APPLICATIONS = (
    Application("pipelined", "/"),
    Application("full-context", "/", {"audio_context": "full"}),
    Application("sequential", "/", {"enable_pipeline": False}),
    Application("null", "/", builder="loadtests.benchmarks.null_graph:build"),
)


SERVERS = {"whisper.cpp": 0, "whisper.cpp-trimmed": 512}
"""Peers behind HTTP -> encoder states of every window: those of 30 s (0), or enough for the longest clip."""


@dataclass
class Subject:
    """Everything measured about one contender, a value a round.

    Attributes:
        cpu_ms: role -> CPU milliseconds a request, over all rounds.
        texts: clip name -> every different text it gave.
    """

    requests_per_s: list[float] = field(default_factory=list)
    real_time_factors: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    count: int = 0
    cpu_s: Counter[str] = field(default_factory=Counter)
    encoder_busy: list[float] = field(default_factory=list)
    texts: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @property
    def cpu_ms(self) -> dict[str, float]:
        return {role: 1000 * used / self.count for role, used in self.cpu_s.most_common()}


def main() -> None:
    options = _options()
    corpus = clips()
    subjects: dict[str, Subject] = defaultdict(Subject)
    for round_number in range(1, options.rounds + 1):
        for application in APPLICATIONS:
            sys.stderr.write(f"round {round_number}: {application.name}\n")
            with running([application]) as base_url:
                closed_loop.run(base_url, corpus, clients=CLIENTS, seconds=WARM_UP_S)
                _measure_service(subjects[application.name], base_url, corpus, options)
        for peer in options.peers:
            sys.stderr.write(f"round {round_number}: {peer}\n")
            if peer in SERVERS:
                _measure_server(subjects[peer], SERVERS[peer], corpus, options)
            else:
                _measure_peer(subjects[peer], peer, corpus, options.seconds)
    report = _report(subjects, corpus, options)
    sys.stdout.write(report)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(report, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3, help="turns each contender gets")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a turn")
    parser.add_argument(
        "--peers", nargs="*", choices=[*PEERS, *SERVERS], default=[*PEERS, *SERVERS], help="peers to run"
    )
    parser.add_argument("--output", type=Path, help="also write the report to this file")
    return parser.parse_args()


def _measure_service(subject: Subject, url: str, corpus: Sequence[Clip], options: argparse.Namespace) -> None:
    busy_before = _encoder_busy_s(url)
    result = _measure_load(subject, url, corpus, CLIENTS, options.seconds)
    subject.encoder_busy.append((_encoder_busy_s(url) - busy_before) / result.seconds)


def _measure_server(subject: Subject, audio_context: int, corpus: Sequence[Clip], options: argparse.Namespace) -> None:
    with whisper_cpp.running(audio_context) as url:
        # One at a time, as the other peers: it has one mutex, and with 16 clients it does half as much.
        closed_loop.run(url, corpus, clients=1, seconds=WARM_UP_S)
        _measure_load(subject, url, corpus, 1, options.seconds)


def _measure_load(subject: Subject, url: str, corpus: Sequence[Clip], clients: int, seconds: float) -> LoadResult:
    cpu_before = cpu_time.by_role()
    result: LoadResult = closed_loop.run(url, corpus, clients=clients, seconds=seconds)
    subject.cpu_s.update(cpu_time.by_role() - cpu_before)
    subject.count += len(result.latencies_s)
    subject.requests_per_s.append(result.requests_per_s)
    subject.real_time_factors.append(result.audio_s / result.seconds)
    subject.p50_ms.append(result.percentile_ms(50))
    subject.p99_ms.append(result.percentile_ms(99))
    for name, texts in result.texts.items():
        subject.texts[name] |= texts
    return result


def _encoder_busy_s(url: str) -> float:
    stage: dict[str, Any] = requests.get(f"{url}/stats/stages", timeout=5).json()["stage2_encoder"]
    return float(stage["busy_time"])


def _measure_peer(subject: Subject, peer: str, corpus: Sequence[Clip], seconds: float) -> None:
    command = [sys.executable, "-m", "loadtests.benchmarks.peers", peer, str(seconds)]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    result = json.loads(output.splitlines()[-1])
    rate = result["clips"] / result["seconds"]
    subject.count += result["clips"]
    subject.cpu_s["process"] += result["cpu_s"]
    subject.requests_per_s.append(rate)
    subject.real_time_factors.append(rate * statistics.mean(clip.seconds for clip in corpus))
    subject.p50_ms.append(1000 / rate)
    for name, text in result["texts"].items():
        subject.texts[name].add(text)


def _report(subjects: dict[str, Subject], corpus: Sequence[Clip], options: argparse.Namespace) -> str:
    lengths = [clip.seconds for clip in corpus]
    lines = [
        f"{len(corpus)} clips of {min(lengths):.1f}-{max(lengths):.1f} s (mean {statistics.mean(lengths):.1f} s), "
        f"{CLIENTS} clients, {options.rounds} rounds of {options.seconds:g} s; median (lowest-highest round)",
        "",
        "| | requests/s | x real time | p50 ms | p99 ms | CPU ms/request | encoder busy | WER % |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_row(name, subject, corpus) for name, subject in subjects.items()),
        "",
        *_ratios(subjects),
        f"- transcripts of pipelined and sequential identical: {_identical(subjects, 'pipelined', 'sequential')}",
        "",
        "CPU milliseconds a request, by process:",
        "",
        *(f"- {name}: {_cpu(subject)}" for name, subject in subjects.items()),
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, subject: Subject, corpus: Sequence[Clip]) -> str:
    cells = [
        name,
        spread(subject.requests_per_s, 1),
        spread(subject.real_time_factors, 0),
        spread(subject.p50_ms, 0),
        spread(subject.p99_ms, 0),
        f"{_service_cpu(subject):.1f}",
        f"{100 * statistics.median(subject.encoder_busy):.0f}%" if any(subject.encoder_busy) else "-",
        f"{100 * _wer(subject, corpus):.1f}" if name != "null" else "-",
    ]
    return "| " + " | ".join(cells) + " |"


def _service_cpu(subject: Subject) -> float:
    return sum(used for role, used in subject.cpu_ms.items() if role != "load generator")


def _ratios(subjects: dict[str, Subject]) -> list[str]:
    pipelined = subjects["pipelined"].requests_per_s
    others = [name for name in subjects if name not in {"pipelined", "null"}]
    return [f"- pipelined / {name}: {_ratio(pipelined, subjects[name].requests_per_s)}" for name in others]


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)], 1) + "x"


def _identical(subjects: dict[str, Subject], first: str, second: str) -> str:
    one, other = subjects[first].texts, subjects[second].texts
    different = [name for name in one.keys() & other.keys() if len(one[name] | other[name]) > 1]
    return "yes" if not different else f"NO: {', '.join(different)}"


def _wer(subject: Subject, corpus: Sequence[Clip]) -> float:
    pairs = [(words(clip.spoken), words(text)) for clip in corpus for text in subject.texts.get(clip.name, ())]
    return float(jiwer.wer([spoken for spoken, _ in pairs], [text for _, text in pairs]))


def _cpu(subject: Subject) -> str:
    return ", ".join(f"{role} {used:.2f}" for role, used in subject.cpu_ms.items() if used >= SHOWN_MS)


if __name__ == "__main__":
    main()
