"""What each setting is worth on this machine: ``python -m loadtests.benchmarks.tuning slots``.

One setting at a time is changed from the defaults. The variants of a group run in one service and take turns, round
after round, so that whatever else the machine does hits all of them alike: compare the rows of one table only.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Mapping

from loadtests.common import closed_loop, cpu_time
from loadtests.common.clips import clips
from loadtests.common.closed_loop import LoadResult
from loadtests.common.service_process import Application, running

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
        "decoder-batch-16": {"decoder_batch_size": 16},
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
    options = parser.parse_args()
    variants, corpus = GROUPS[options.group], clips()
    results: dict[str, list[LoadResult]] = defaultdict(list)
    cpu_ms: dict[str, list[float]] = defaultdict(list)
    with running([Application(name, f"/{name}", settings) for name, settings in variants.items()]) as url:
        for name in variants:
            closed_loop.run(f"{url}/{name}", corpus, clients=CLIENTS, seconds=WARM_UP_S)
        for _ in range(options.rounds):
            for name in variants:
                before = cpu_time.by_role()
                result = closed_loop.run(f"{url}/{name}", corpus, clients=CLIENTS, seconds=options.seconds)
                used = cpu_time.by_role() - before
                results[name].append(result)
                cpu_ms[name].append(1000 * used.total() / len(result.latencies_s))
    print(f"{CLIENTS} clients, {options.rounds} rounds of {options.seconds:g} s in turns, median (lowest-highest)\n")
    print("| variant | requests/s | of the defaults | p50 ms | p99 ms | CPU ms/request, load generator included |")
    print("| --- | --- | --- | --- | --- | --- |")
    usual = statistics.median(result.requests_per_s for result in results[DEFAULTS])
    for name, rounds in results.items():
        rates = [result.requests_per_s for result in rounds]
        row = (
            name,
            f"{statistics.median(rates):.1f} ({min(rates):.1f}-{max(rates):.1f})",
            f"{100 * statistics.median(rates) / usual:.0f}%",
            f"{statistics.median(result.percentile_ms(50) for result in rounds):.0f}",
            f"{statistics.median(result.percentile_ms(99) for result in rounds):.0f}",
            f"{statistics.median(cpu_ms[name]):.1f}",
        )
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
