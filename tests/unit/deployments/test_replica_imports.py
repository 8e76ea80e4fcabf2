"""What a replica imports, every replica pays when it starts, also when the service grows."""

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


@pytest.mark.parametrize("stage", USES)
def test_a_replica_imports_nothing_heavy_that_it_does_not_need(stage: str) -> None:
    use, needless = USES[stage]
    program = f"{use}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    imported = set(done.stdout.split())
    assert "numpy" in imported
    assert not imported & needless
