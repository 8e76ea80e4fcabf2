"""Damages audio files at random and feeds them to the decoder: ``python tests/fuzz/fuzz_audio.py --minutes 10``.

Prints what came of it, and keeps every file that made the decoder do anything but decode or refuse.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.fuzz.audio_corpus import corpus
from tests.fuzz.audio_mutations import mutate
from tests.fuzz.decoder_process import DecoderProcess, Outcome

WARM_UP = 500  # inputs before memory is compared: by then every codec was used


@dataclass
class Report:
    """Numbers of one run; sizes in bytes."""

    kinds: Counter[str] = field(default_factory=Counter)
    findings: list[bytes] = field(default_factory=list)
    max_cpu_s: float = 0.0
    max_rise: int = 0
    rss: list[int] = field(default_factory=list)

    def add(self, upload: bytes, outcome: Outcome) -> None:
        self.kinds[outcome.kind] += 1
        self.max_cpu_s = max(self.max_cpu_s, outcome.cpu_s)
        if outcome.is_fine:
            self.max_rise = max(self.max_rise, outcome.peak - (self.rss[-1] if self.rss else outcome.peak))
            self.rss.append(outcome.rss)
        else:
            self.findings.append(upload)

    @property
    def growth(self) -> int:
        """Of resident memory, from the end of the warm-up to now."""
        return self.rss[-1] - self.rss[WARM_UP] if len(self.rss) > WARM_UP else 0

    def __str__(self) -> str:
        rows = [f"{count:9} {kind}" for kind, count in self.kinds.most_common()]
        start = self.rss[min(WARM_UP, len(self.rss) - 1)] / 2**20
        return "\n".join(
            [
                f"{self.kinds.total():9} inputs",
                *rows,
                f"longest {self.max_cpu_s:.3f} s of CPU; largest rise while decoding {self.max_rise / 2**20:.1f} MiB",
                f"resident {start:.1f} MiB after {WARM_UP} inputs, {self.rss[-1] / 2**20:.1f} MiB at the end",
            ]
        )


def uploads(seed: int) -> Iterator[bytes]:
    """The corpus as it is, then damaged for ever; the same for the same seed."""
    files = list(corpus().values())
    yield from files
    rng = np.random.default_rng(seed)
    while True:
        yield mutate(files, rng)


def fuzz(seed: int, *, inputs: int | None = None, seconds: float = float("inf")) -> Report:
    """Until ``inputs`` were decoded or ``seconds`` are over."""
    report = Report()
    until = time.monotonic() + seconds
    with DecoderProcess() as decoder:
        for number, upload in enumerate(uploads(seed)):
            if number == inputs or time.monotonic() > until:
                break
            report.add(upload, decoder.decode(upload))
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--inputs", type=int, help="end after so many")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, default=Path("results/fuzz"), help="directory for files that are findings")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    report = fuzz(arguments.seed, inputs=arguments.inputs, seconds=60 * arguments.minutes)
    print(report)
    for upload in report.findings:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        path = arguments.keep / f"{hashlib.sha256(upload).hexdigest()[:16]}.bin"
        path.write_bytes(upload)
        print("kept", path)
    raise SystemExit(bool(report.findings))


if __name__ == "__main__":
    main()
