"""What real weights do with human speech, noise and prompts: Whisper base, with files of the speech corpus."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.decoder.generation import TextGenerator
from deployments.decoder.steps import DecodeItem
from deployments.mel.decoding import decode
from deployments.mel.log_mel import log_mel
from deployments.mel.track_decoding import AudioLimits
from deployments.shared.contracts import DecodeOptions, Transcript, Window
from deployments.shared.frames import SAMPLE_RATE, frames_for
from deployments.shared.model.silence import SHIPPED
from npu_encoder.cpu.openvino import OpenVinoBackend
from npu_encoder.silence import read_silence
from tests.support.paths import AUDIO
from tests.support.real_model import real_base

N_FRAMES = 3000
ENGLISH = DecodeOptions(language="en")
PROMPT = "Transcribe exactly as spoken. Vocabulary: Ecobee, Kubernetes, Amanuensis."
JFK = "ask not what your country can do for you"

Pcm = NDArray[np.int16]


def case(name: str) -> Pcm:
    """A file of the corpus's ``cases``."""
    corpus = os.environ.get("SPEECH_CORPUS")
    if corpus is None:
        pytest.skip("SPEECH_CORPUS names no directory with the speech corpus")
    with (Path(corpus) / "cases" / name).open("rb") as file:
        return decode(file, AudioLimits(max_seconds=60, max_channels=2, max_cpu_s=60)).mono


def noise() -> Pcm:
    return (3000 * np.random.default_rng(1).standard_normal(20 * SAMPLE_RATE)).astype(np.int16)


@pytest.fixture(scope="module")
def generator() -> TextGenerator:
    return TextGenerator(real_base())


@functools.cache
def encoder() -> OpenVinoBackend:
    return OpenVinoBackend(real_base(), precision="f32")


@functools.cache
def full_states(pcm: bytes) -> NDArray[np.float32]:
    mel = np.zeros((80, N_FRAMES), np.float32)
    log_mel(np.frombuffer(pcm, np.int16), mel)
    states = np.zeros((N_FRAMES // 2, encoder().dimensions.d_model), np.float32)
    encoder().encode([mel], [states])
    return states


def item(pcm: Pcm, speech: tuple[tuple[float, float], ...] | None, options: DecodeOptions = ENGLISH) -> DecodeItem:
    return DecodeItem(full_states(pcm.tobytes()), Window(0, 0.0, len(pcm) / SAMPLE_RATE, speech), options)


def text_of(generator: TextGenerator, *arguments: object) -> Transcript:
    return generator.generate([item(*arguments)])[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("sound", [lambda: np.zeros(5 * SAMPLE_RATE, np.int16), noise], ids=["silence", "noise"])
@pytest.mark.parametrize(
    "options",
    [DecodeOptions(), ENGLISH, replace(ENGLISH, prompt=PROMPT), replace(ENGLISH, hotwords="Ecobee")],
    ids=["detected", "english", "prompt", "hotwords"],
)
def test_no_words_out_of_silence_and_noise(
    generator: TextGenerator, sound: Callable[[], Pcm], options: DecodeOptions
) -> None:
    transcript = text_of(generator, sound(), (), options)
    assert (transcript.text, transcript.rest_from_s) == ("", None)


def trimmed_item(pcm: Pcm, speech: tuple[tuple[float, float], ...] | None, options: DecodeOptions) -> DecodeItem:
    """What the Encoder hands on where only the speech is encoded."""
    silence = read_silence(SHIPPED / "base.npz")
    frames = frames_for(len(pcm))
    mel = np.zeros((80, frames), np.float32)
    log_mel(pcm, mel)
    states = np.concatenate([np.zeros((frames // 2, silence.states.shape[1]), np.float32), silence.tail(frames // 2)])
    trimmed_encoder().encode([mel], [states[: frames // 2]])
    return DecodeItem(states, Window(0, 0.0, len(pcm) / SAMPLE_RATE, speech), options)


@functools.cache
def trimmed_encoder() -> OpenVinoBackend:
    return OpenVinoBackend(real_base(), precision="f32", silence=SHIPPED / "base.npz")


def jfk() -> Pcm:
    with (AUDIO / "human" / "jfk.flac").open("rb") as file:
        return decode(file, AudioLimits(max_seconds=60, max_channels=2, max_cpu_s=60)).mono


def test_the_speech_alone_gives_the_text_of_the_full_window(generator: TextGenerator) -> None:
    full, trimmed = item(jfk(), None), trimmed_item(jfk(), None, ENGLISH)
    assert len(trimmed.states) < 1000
    one, other = generator.generate([full])[0], generator.generate([trimmed])[0]
    assert JFK in other.text
    assert [word.strip(",.") for word in other.text.split()] == [word.strip(",.") for word in one.text.split()]
    assert generator.log_probability(trimmed.states, one) == pytest.approx(
        generator.log_probability(full.states, one), abs=0.05
    )


def test_a_draft_of_clear_speech_is_its_text_and_one_of_noise_is_empty(generator: TextGenerator) -> None:
    draft = DecodeOptions(draft=True)
    plain, quick = generator.generate([trimmed_item(jfk(), None, DecodeOptions()), trimmed_item(jfk(), None, draft)])
    assert replace(quick, logprobs=()) == plain
    assert JFK in quick.text
    assert generator.generate([trimmed_item(noise(), (), draft)])[0].text == ""


@pytest.mark.parametrize("sound", [lambda: np.zeros(5 * SAMPLE_RATE, np.int16), noise], ids=["silence", "noise"])
def test_no_words_out_of_shortened_silence_and_noise(generator: TextGenerator, sound: Callable[[], Pcm]) -> None:
    (transcript,) = generator.generate([trimmed_item(sound(), (), DecodeOptions())])
    assert transcript.text == ""


def test_a_short_word_that_the_voice_detection_misses_is_heard(generator: TextGenerator) -> None:
    assert "ask" in text_of(generator, case("b13_0.6s.wav"), ()).text.lower()


@pytest.mark.parametrize("prompt", [PROMPT, "Ecobee", "Kubernetes " * 3000], ids=["vocabulary", "name", "endless"])
def test_no_word_of_the_prompt_that_was_not_said(generator: TextGenerator, prompt: str) -> None:
    transcript = text_of(generator, case("jfk.wav"), ((0.3, 10.5),), replace(ENGLISH, prompt=prompt))
    assert JFK in transcript.text.lower()
    assert not any(word in transcript.text for word in ("Ecobee", "Kubernetes", "Amanuensis", "Vocabulary"))


def test_hotwords_are_understood(generator: TextGenerator) -> None:
    def text(options: DecodeOptions) -> str:
        return text_of(generator, case("hotwords.mp3"), ((0.1, 3.9),), options).text.replace(" ", "").lower()

    assert "comfyui" not in text(ENGLISH)
    assert "comfyui" in text(replace(ENGLISH, hotwords="Comfy UI, ComfyUI"))


def test_a_sentence_that_is_spoken_again_and_again_is_kept_whole(generator: TextGenerator) -> None:
    pcm = case("b12_44.0s.wav")[: round(29.7 * SAMPLE_RATE)]
    transcript = text_of(generator, pcm, ((0.3, 10.5), (11.3, 21.5), (22.3, 29.5)))
    assert transcript.compression_ratio > 2.4
    assert transcript.text.lower().count("my fellow americans") == 3


def test_a_word_does_not_swallow_a_pause_of_eighteen_seconds(generator: TextGenerator) -> None:
    pcm = case("b11_3.2s_pause_18s_rest.wav")
    speech = ((0.3, 2.2), (21.1, 22.5), (23.2, 29.0))
    transcript = text_of(generator, pcm, speech, replace(ENGLISH, word_times=True))
    words = transcript.words
    assert " ".join(word.text for word in words) == transcript.text
    americans = next(word for word in words if word.text.startswith("Americans"))
    assert americans.end_s == pytest.approx(2.3, abs=0.3)
    assert all(word.start_s < word.end_s for word in words)
    assert words[5].start_s > 20.5


def test_the_same_audio_gives_the_same_text_beside_any_neighbours(generator: TextGenerator) -> None:
    hard = item(noise(), None)
    easy = item(case("jfk.wav"), ((0.3, 10.5),))
    alone = [generator.generate([each])[0] for each in (easy, hard)]
    assert generator.generate([easy, hard]) == alone
    assert generator.generate([hard, easy, hard, easy])[2:] == [alone[1], alone[0]]
