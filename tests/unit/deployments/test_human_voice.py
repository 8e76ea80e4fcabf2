"""The README's first example: a human voice and the default model give the words that were said."""

from __future__ import annotations

import numpy as np
from faster_whisper.audio import decode_audio

from deployments.decoder.generation import TextGenerator
from deployments.decoder.steps import DecodeItem
from deployments.mel.log_mel import log_mel
from deployments.shared.contracts import DecodeOptions, Window
from npu_encoder.loading import load_backend
from tests.support.paths import ROOT
from tests.support.real_model import real_base

RECORDING = ROOT / "tests" / "audio" / "human" / "jfk.flac"
SAID = "And so my fellow Americans, ask not what your country can do for you, ask what you can do for your country."


def test_a_human_voice_and_whisper_base() -> None:
    model = real_base()
    pcm = np.rint(decode_audio(str(RECORDING)) * 32_768).astype(np.int16)
    mel, states = np.empty((80, 3000), np.float32), np.empty((1500, 512), np.float32)
    log_mel(pcm, mel)
    load_backend(model, backend="openvino").encode([mel], [states])
    (transcript,) = TextGenerator(model).generate([DecodeItem(states, Window(0, 0.0, 11.0), DecodeOptions())])
    assert transcript.text == SAID
    assert transcript.language == "en"


def test_the_readme_and_the_recordings_own_page_show_these_words() -> None:
    assert f'{{"text":"{SAID}"' in (ROOT / "README.md").read_text(encoding="utf-8")
    assert SAID in " ".join(RECORDING.with_name("README.md").read_text(encoding="utf-8").split())
