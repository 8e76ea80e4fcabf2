"""Everything that the throughput benchmark measures of one contender."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from loadtests.benchmarks.accuracy.bootstrap import Compared, Estimate, error_rate
from loadtests.benchmarks.accuracy.corpus import CorpusFile
from loadtests.benchmarks.accuracy.scoring import score
from loadtests.common.clips import Clip
from loadtests.common.closed_loop import LoadResult, run_closed_loop
from loadtests.common.cpu_time import LOAD_GENERATOR, cpu_s_between, cpu_s_by_role
from loadtests.common.memory import resident_mib


@dataclass
class Measurements:
    """The figures of one contender, a value per round.

    Attributes:
        count: answered requests of all rounds.
        cpu_s: role -> CPU seconds of all rounds.
        memory_mib: proportional set size of all processes, at the end of a round.
        encoder_busy: share of the time in which the encoder computed.
        texts: clip name -> every different text it gave.
    """

    requests_per_s: list[float] = field(default_factory=list)
    real_time_factors: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p95_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)
    count: int = 0
    cpu_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    encoder_busy: list[float] = field(default_factory=list)
    texts: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add_load(self, result: LoadResult, cpu_s: Mapping[str, float], memory_mib: float) -> None:
        """Take in one round."""
        self.count += len(result.latencies_s)
        self.requests_per_s.append(result.requests_per_s)
        self.real_time_factors.append(result.audio_s / result.seconds)
        self.p50_ms.append(result.percentile_ms(50))
        self.p95_ms.append(result.percentile_ms(95))
        self.p99_ms.append(result.percentile_ms(99))
        self.memory_mib.append(memory_mib)
        for role, used in cpu_s.items():
            self.cpu_s[role] += used
        for name, texts in result.texts.items():
            self.texts[name] |= texts

    @property
    def cpu_ms(self) -> dict[str, float]:
        """CPU milliseconds per request by role, the largest first."""
        largest_first = sorted(self.cpu_s.items(), key=lambda item: -item[1])
        return {role: 1000 * used / self.count for role, used in largest_first}

    @property
    def service_cpu_ms(self) -> float:
        """CPU milliseconds per request without the load generator."""
        return sum(used for role, used in self.cpu_ms.items() if role != LOAD_GENERATOR)

    @property
    def encoder_busy_share(self) -> float | None:
        """The median share of the time in which the encoder computed; None where it never did."""
        return statistics.median(self.encoder_busy) if any(self.encoder_busy) else None

    def error_rate(self, recordings: Mapping[str, CorpusFile]) -> Estimate | None:
        """Return the word error rate over all different texts, by speaker; None where nothing can be compared."""
        scored = [
            Compared(recording.speaker, found.units, found.errors)
            for name, recording in recordings.items()
            for text in sorted(self.texts.get(name, ()))
            if (found := score(recording.sentences, text, recording.language))
        ]
        return error_rate(scored) if scored else None

    def differs_from(self, other: Measurements) -> list[str]:
        """Return the names of the clips whose texts are not one and the same in both."""
        return [
            name for name in self.texts.keys() & other.texts.keys() if len(self.texts[name] | other.texts[name]) > 1
        ]


def measure_load(
    measured: Measurements, url: str, process: psutil.Process, clips: Sequence[Clip], *, clients: int, seconds: float
) -> LoadResult:
    """Send every clip equally often for about ``seconds``, and take in what came of it.

    Args:
        process: the launcher of what answers, from which all its processes descend.
    """
    before = cpu_s_by_role(process)
    result = run_closed_loop(url, clips, clients=clients, seconds=seconds, whole_passes=True)
    measured.add_load(result, cpu_s_between(before, cpu_s_by_role(process)), resident_mib(process))
    return result
