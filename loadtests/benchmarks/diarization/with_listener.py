"""The service's own listener in a process of its own: the models that come along, or a pyannote pipeline.

``python -m loadtests.benchmarks.diarization.with_listener MODEL``: as the setting ``diarization_model`` names it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from deployments.diarizer.loading import load_listener
from loadtests.benchmarks.diarization.child import Turns, answer
from loadtests.common.wav import pcm_of


def main() -> None:
    listener = load_listener(sys.argv[1], os.environ.get("HF_TOKEN"))

    def listen(file: str) -> Turns:
        pcm = np.frombuffer(pcm_of(Path(file)), np.int16)
        found = listener.diarize(pcm, None, None, lambda: None)
        return [(turn.start_s, turn.end_s, str(turn.speaker)) for turn in found.turns]

    answer(listen)


if __name__ == "__main__":
    main()
