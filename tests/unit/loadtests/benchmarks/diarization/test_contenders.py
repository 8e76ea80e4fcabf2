"""Contenders in processes of their own: what they find, what that costs, and what they say when they fail."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from loadtests.benchmarks.diarization.contenders import OURS, Contender, contenders, run
from loadtests.benchmarks.diarization.recordings import Recording
from loadtests.common.wav import RATE, wav_of
from tests.support.paths import AUDIO
from tests.support.spoken_clips import pcm_of

MIB = 2**20


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Recording]:
    spoken = np.tile(pcm_of(sorted(AUDIO.glob("*.wav"))[0]), 20)[: 30 * RATE]
    found = {}
    for name, pcm in (("speech", spoken), ("silence", np.zeros(5 * RATE, np.int16))):
        path = tmp_path / f"{name}.wav"
        path.write_bytes(wav_of(pcm.tobytes()))
        found[str(path)] = Recording(name, ".", len(pcm) / RATE, (), ())
    return found


def test_the_listener_of_the_service_is_heard_in_a_process(files: dict[str, Recording]) -> None:
    (ours,) = contenders(None, None)
    found = run(ours, files)
    assert ours.name == OURS
    speech, silence = found.by_recording["speech"], found.by_recording["silence"]
    assert speech.speakers >= 1
    assert all(0 <= turn.start_s < turn.end_s <= 30 for turn in speech.turns)
    assert silence.turns == ()
    assert speech.cpu_s > silence.cpu_s > 0
    assert found.memory_mib > 50


SCRIPTED = """
import time
from loadtests.benchmarks.diarization.child import answer

def listen(file):
    began = time.process_time()
    if "speech" in file:
        held = bytearray(40 * 2**20)
        while time.process_time() - began < 0.3:
            held[-1] += 1 - held[-1]
        del held
    return [(0.0, 1.5, "A"), (1.5, 2.0, "B")]

answer(listen)
"""


def test_cost_is_the_cpu_and_the_peak_of_the_memory(files: dict[str, Recording]) -> None:
    found = run(Contender("scripted", (sys.executable, "-c", SCRIPTED), ""), files)
    speech, silence = found.by_recording["speech"], found.by_recording["silence"]
    assert speech.cpu_s == pytest.approx(0.3, abs=0.1)
    assert speech.growth_mib == pytest.approx(40, abs=5)
    assert silence.cpu_s < 0.1
    assert silence.growth_mib < 5
    assert speech.speakers == 2
    assert [(turn.start_s, turn.end_s, turn.speaker) for turn in speech.turns] == [(0.0, 1.5, "A"), (1.5, 2.0, "B")]


def test_a_contender_that_fails_says_why(files: dict[str, Recording]) -> None:
    broken = Contender("broken", (sys.executable, "-c", "raise SystemExit('no model here')"), "")
    with pytest.raises(RuntimeError, match="broken failed:\nno model here"):
        run(broken, files)


def test_peers_run_where_they_are_named() -> None:
    with pytest.raises(FileNotFoundError):
        contenders("/nowhere/bin/python", None)
    _, pipeline = contenders(None, "pyannote/pipeline")
    assert pipeline.name == pipeline.command[-1] == "pyannote/pipeline"
