"""What a replica imports, every replica pays when it starts, also when the service grows."""

import json
import subprocess
import sys

import pytest

TORCH = {"torch", "torchaudio", "transformers", "whisperx", "pyannote"}
REPORTS = {"librosa", "matplotlib", "prometheus_client"}
TEXT = {"ctranslate2", "faster_whisper", "tokenizers", "huggingface_hub"}

USES = {
    "mel": (
        "import numpy, deployments.mel.deployment as mel\n"
        "mel.find_windows(numpy.zeros(16000, numpy.int16), mel.SpeechOptions(vad_filter=True, max_window_s=30.0))",
        TORCH | REPORTS | TEXT,
    ),
    "encoder": (
        "import deployments.encoder.deployment, npu_encoder.cpu.openvino",
        TORCH | REPORTS | TEXT | {"av", "scipy"},
    ),
    "diarizer": (
        "import deployments.diarizer.deployment, deployments.diarizer.listener as listener\nlistener.BuiltIn()",
        TORCH | REPORTS | TEXT | {"av", "sklearn"},
    ),
    "decoder": ("import deployments.decoder.deployment", TORCH | REPORTS | {"openvino", "scipy"}),
}


PROGRAM = """
import json, os, sys
import ray.serve  # what every replica imports: once for all of them
for stage, use in json.loads(sys.argv[1]).items():
    if not os.fork():
        exec(use)
        print(stage, *{name.split(".")[0] for name in sys.modules}, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, stage
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """The modules that each stage has imported."""
    uses = json.dumps({stage: use for stage, (use, _) in USES.items()})
    done = subprocess.run([sys.executable, "-c", PROGRAM, uses], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {stage: set(modules) for stage, *modules in map(str.split, done.stdout.splitlines())}


@pytest.mark.parametrize("stage", USES)
def test_a_replica_imports_nothing_heavy_that_it_does_not_need(stage: str, imported: dict[str, set[str]]) -> None:
    _, needless = USES[stage]
    assert {"numpy", "deployments"} <= imported[stage]
    assert not imported[stage] & needless
