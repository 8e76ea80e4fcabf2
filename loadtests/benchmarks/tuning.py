"""Measure what each setting of the service is worth on this machine.

``amanuensis bench tuning slots``: one setting at a time is changed from the defaults. The variants of a group run in
one service and take turns, round after round, so that whatever else the machine does hits all of them alike: compare
the rows of one table only.

With ``--voices DIR`` it is Whisper ``base`` that hears the human voices of a corpus, else the toy model.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from deployments.shared.model.finding import resolve
from loadtests.benchmarks.parts.clip_sets import read_clips
from loadtests.benchmarks.parts.spread import spread
from loadtests.common.clips import clips
from loadtests.common.closed_loop import LoadResult, run_closed_loop
from loadtests.common.cpu_time import cpu_s_between, cpu_s_by_role
from loadtests.common.paths import DEMO_MODEL
from loadtests.common.service_process import Application, started

CLIENTS = 32
WARM_UP_S = 2.0
DEFAULTS = "defaults"
GROUPS: Mapping[str, Mapping[str, Mapping[str, int]]] = {
    "slots": {
        "slots-4": {"slots": 4},
        "slots-8": {"slots": 8},
        DEFAULTS: {},
        "slots-32": {"slots": 32},
    },
    "batches": {
        "decoder-batch-4": {"decoder_batch_size": 4},
        "decoder-batch-8": {"decoder_batch_size": 8},
        DEFAULTS: {},
        "encoder-batch-4": {"encoder_batch_size": 4},
        "encoder-batch-16": {"encoder_batch_size": 16},
    },
    "replicas": {
        "mel-replicas-2": {"mel_replicas": 2},
        "decoder-replicas-2": {"decoder_replicas": 2},
        DEFAULTS: {},
        "decoder-threads-2": {"decoder_threads": 2},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--rounds", type=int, default=3, help="turns each variant gets")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a turn")
    parser.add_argument("--voices", type=Path, metavar="DIR", help="corpus of human voices; else the toy model")
    options = parser.parse_args()
    variants = GROUPS[options.group]
    corpus, model = (
        (read_clips(options.voices).clips, str(resolve("base"))) if options.voices else (clips(), str(DEMO_MODEL))
    )
    results: dict[str, list[LoadResult]] = defaultdict(list)
    cpu_ms: dict[str, list[float]] = defaultdict(list)
    applications = [Application(name, f"/{name}", settings, model=model) for name, settings in variants.items()]
    with started(applications) as service:
        for name in variants:
            run_closed_loop(f"{service.url}/{name}", corpus, clients=CLIENTS, seconds=WARM_UP_S)
        for _ in range(options.rounds):
            for name in variants:
                before = cpu_s_by_role(service.process)
                result = run_closed_loop(f"{service.url}/{name}", corpus, clients=CLIENTS, seconds=options.seconds)
                used = cpu_s_between(before, cpu_s_by_role(service.process))
                results[name].append(result)
                cpu_ms[name].append(1000 * sum(used.values()) / len(result.latencies_s))
    print(f"{CLIENTS} clients, {options.rounds} rounds of {options.seconds:g} s in turns, median (lowest-highest)\n")
    print("| variant | requests/s | of the defaults | p50 ms | p99 ms | CPU ms/request, load generator included |")
    print("| --- | --- | --- | --- | --- | --- |")
    usual = statistics.median(result.requests_per_s for result in results[DEFAULTS])
    for name, rounds in results.items():
        rates = [result.requests_per_s for result in rounds]
        row = (
            name,
            spread(rates, 1),
            f"{100 * statistics.median(rates) / usual:.0f}%",
            f"{statistics.median(result.percentile_ms(50) for result in rounds):.0f}",
            f"{statistics.median(result.percentile_ms(99) for result in rounds):.0f}",
            f"{statistics.median(cpu_ms[name]):.1f}",
        )
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
