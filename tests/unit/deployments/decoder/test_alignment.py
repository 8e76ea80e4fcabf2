"""WhisperX's forced alignment with a tiny random wav2vec2: no word is lost, all are in order and inside the window."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from deployments.decoder.alignment import PhonemeAligner
from deployments.shared.contracts import Transcript, Window, Word
from deployments.shared.errors import ConfigurationError
from tests.support.spoken_clips import Clip, load_clips


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import (  # noqa: PLC0415  (10 s of CPU, which only the worker that runs these tests spends)
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    path = tmp_path_factory.mktemp("wav2vec2")
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz'"]
    (path / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}), encoding="utf-8")
    tokenizer = Wav2Vec2CTCTokenizer(str(path / "vocab.json"), word_delimiter_token="|")  # noqa: S106
    Wav2Vec2Processor(feature_extractor=Wav2Vec2FeatureExtractor(), tokenizer=tokenizer).save_pretrained(path)
    config = Wav2Vec2Config(
        vocab_size=len(letters),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    Wav2Vec2ForCTC(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def aligner(model_dir: Path) -> PhonemeAligner:
    return PhonemeAligner(str(model_dir), "en")


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clips()[6]


def test_where_whisperx_is_not_installed_the_error_says_what_to_do(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "whisperx", None)  # makes its import fail
    with pytest.raises(ConfigurationError, match="pip install whisperx"):
        PhonemeAligner(str(model_dir), "en")


def align(aligner: PhonemeAligner, clip: Clip, text: str, offset_s: float = 0.0) -> tuple[Word, ...]:
    window = Window(0, offset_s, offset_s + clip.duration_s)
    words = aligner.align(clip.pcm, window, Transcript(text, (), "en", 1.0, 0.0, 0.0, 0.0, 0.0))
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert all(window.start_s <= time <= window.end_s for time in times)
    return words


def test_spoken_words(aligner: PhonemeAligner, clip: Clip) -> None:
    words = align(aligner, clip, clip.spoken)
    assert [word.text for word in words] == clip.spoken.split()
    assert all(0.0 < word.probability <= 1.0 for word in words)
    assert all(word.start_s < word.end_s for word in words)


def test_times_count_from_the_start_of_the_audio(aligner: PhonemeAligner, clip: Clip) -> None:
    early, late = align(aligner, clip, clip.spoken), align(aligner, clip, clip.spoken, offset_s=60.0)
    assert [word.start_s + 60.0 for word in early] == pytest.approx([word.start_s for word in late], abs=0.002)


def test_digits_are_aligned_and_words_without_letters_fill_the_gap(aligner: PhonemeAligner, clip: Clip) -> None:
    words = align(aligner, clip, "— Room 42 & on the left …")
    assert [word.text for word in words] == ["—", "Room", "42", "&", "on", "the", "left", "…"]
    assert [word.probability > 0.0 for word in words] == [False, True, True, False, True, True, True, False]
    assert (words[0].start_s, words[0].end_s) == (0.0, words[1].start_s)
    assert (words[3].start_s, words[3].end_s) == (words[2].end_s, words[4].start_s)


def test_more_letters_than_frames(aligner: PhonemeAligner, clip: Clip) -> None:
    text = "far too many letters for this audio " * 20
    words = align(aligner, clip, text)
    assert [word.text for word in words] == text.split()
    assert all(word.probability == 0.0 for word in words)
    assert words[-1].end_s == pytest.approx(clip.duration_s, abs=0.001)


def test_no_words(aligner: PhonemeAligner, clip: Clip) -> None:
    assert align(aligner, clip, "") == ()


def test_audio_shorter_than_one_frame(aligner: PhonemeAligner, clip: Clip) -> None:
    words = align(aligner, Clip("short", clip.pcm[:100], ""), "Hi there")
    assert [word.text for word in words] == ["Hi", "there"]


def test_words_are_where_their_letters_sound(
    aligner: PhonemeAligner, clip: Clip, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415  (see above)

    letters = json.loads((model_dir / "vocab.json").read_text(encoding="utf-8"))
    frames = round(clip.duration_s * 50)
    logits = torch.zeros(1, frames, len(letters))
    logits[0, :, letters["<pad>"]] = 5.0
    for frame, letter in ((20, "h"), (25, "i"), (60, "|"), (100, "y"), (104, "o"), (110, "u")):
        logits[0, frame, letters[letter]] = 10.0
    monkeypatch.setattr(aligner, "_model", lambda _: SimpleNamespace(logits=logits))

    hi, you = align(aligner, clip, "Hi you")
    assert (hi.start_s, you.start_s, you.end_s) == pytest.approx((0.4, 2.0, 2.22), abs=0.03)
    assert hi.end_s < 1.2


def test_model_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "nothing"))):
        PhonemeAligner(str(tmp_path / "nothing"), "en")


def test_directory_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path))):
        PhonemeAligner(str(tmp_path), "en")


def test_language_without_a_default_model() -> None:
    with pytest.raises(ConfigurationError, match="'yo'"):
        PhonemeAligner(None, "yo")
