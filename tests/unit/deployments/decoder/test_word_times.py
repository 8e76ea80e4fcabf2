"""Word times by cross-attention: the right words, in order, where the speech is."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from deployments.decoder.generation import TextGenerator
from deployments.decoder.steps import DecodeItem
from deployments.decoder.vocabulary import Vocabulary
from deployments.decoder.word_times import (
    Span,
    align,
    cut_pauses,
    cut_to_speech,
    is_spaced,
    join_words,
    make_room,
    timed_words,
)
from deployments.shared.contracts import DecodeOptions, Transcript, Window, Word
from deployments.shared.punctuation import ends_sentence
from tests.support.spoken_clips import DEMO_MODEL, Clip, encode, load_clips
from tests.support.tiny_whisper import D_MODEL, make_multilingual_model

OFFSET_S = 100.0
WITH_WORDS = DecodeOptions(word_times=True)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return load_clips()


@pytest.fixture(scope="module")
def items(clips: list[Clip]) -> list[DecodeItem]:
    """Every clip as a window that begins 100 s into its audio."""
    windows = [Window(3, OFFSET_S, OFFSET_S + clip.duration_s) for clip in clips]
    return [DecodeItem(states, window, WITH_WORDS) for states, window in zip(encode(clips), windows, strict=True)]


@pytest.fixture(scope="module")
def generator() -> TextGenerator:
    return TextGenerator(DEMO_MODEL)


@pytest.fixture(scope="module")
def transcripts(generator: TextGenerator, items: list[DecodeItem]) -> list[Transcript]:
    return generator.generate(items)


def loud(clip: Clip) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each 20 ms of the clip hold speech (2% of the loudest)."""
    frames = clip.pcm[: len(clip.pcm) // 320 * 320].reshape(-1, 320).astype(np.float64)
    energy = np.sqrt(np.mean(frames**2, axis=1))
    return np.asarray(energy > 0.02 * energy.max()).reshape(-1)


def assert_in_order(words: tuple[Word, ...], window: Window) -> None:
    least_s = min(0.02, window.duration_s / len(words))
    assert all(word.end_s - word.start_s > 0.9 * least_s - 0.001 for word in words)
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert window.start_s <= times[0]
    assert times[-1] <= window.end_s


def test_words_are_those_of_the_text(transcripts: list[Transcript]) -> None:
    for transcript in transcripts:
        assert [word.text for word in transcript.words] == transcript.text.split()
        assert all(0.0 < word.probability <= 1.0 for word in transcript.words)


def test_words_are_in_order_and_inside_the_window(transcripts: list[Transcript], items: list[DecodeItem]) -> None:
    for transcript, item in zip(transcripts, items, strict=True):
        assert_in_order(transcript.words, item.window)


def test_the_last_word_ends_with_the_speech(transcripts: list[Transcript], clips: list[Clip]) -> None:
    for transcript, clip in zip(transcripts, clips, strict=True):
        speech_end_s = (np.flatnonzero(loud(clip))[-1] + 1) / 50
        assert transcript.words[-1].end_s - OFFSET_S == pytest.approx(speech_end_s, abs=0.45)


def test_speech_after_a_pause_is_the_first_word_of_a_sentence(transcripts: list[Transcript], clips: list[Clip]) -> None:
    for transcript, clip in list(zip(transcripts, clips, strict=True))[-2:]:
        speech = loud(clip)
        onsets = [i / 50 for i in range(50, len(speech)) if speech[i] and not speech[i - 10 : i].any()]
        first_words = [after for before, after in pairwise(transcript.words) if ends_sentence(before.text)]
        assert len(onsets) == 5
        for word, onset_s in zip(first_words, onsets, strict=True):
            assert word.start_s < OFFSET_S + onset_s < word.end_s
            assert word.end_s - word.start_s < 0.7


def test_times_do_not_depend_on_the_batch(
    generator: TextGenerator, items: list[DecodeItem], transcripts: list[Transcript]
) -> None:
    assert [generator.generate([item])[0].words for item in items] == [each.words for each in transcripts]


def test_padding_after_the_window_gets_no_word(generator: TextGenerator, items: list[DecodeItem]) -> None:
    cut = replace(items[0], window=Window(0, 0.0, 1.0))
    words = generator.generate([cut])[0].words
    assert_in_order(words, cut.window)


@pytest.mark.parametrize("duration_s", [0.01, 0.05, 0.2])
def test_windows_of_a_few_frames(generator: TextGenerator, items: list[DecodeItem], duration_s: float) -> None:
    window = Window(0, 1 / 3, 1 / 3 + duration_s)
    transcript = generator.generate([replace(items[1], window=window)])[0]
    assert [word.text for word in transcript.words] == transcript.text.split()
    assert_in_order(transcript.words, window)


def test_language_without_spaces(tmp_path: Path) -> None:
    states = 3 * np.random.default_rng(1).standard_normal((100, D_MODEL), np.float32)
    item = DecodeItem(states, Window(0, 0.0, 2.0), DecodeOptions(language="ja", word_times=True))
    transcript = TextGenerator(make_multilingual_model(tmp_path)).generate([item])[0]
    assert "".join(word.text for word in transcript.words) == "".join(transcript.text.split())
    assert_in_order(transcript.words, item.window)


def spans(*texts: str) -> list[Span]:
    """One span of 0.2 s a text."""
    return [Span(text, 0.2 * index, 0.2 * (index + 1), 0.5) for index, text in enumerate(texts)]


def test_punctuation_belongs_to_its_word_but_not_to_its_time() -> None:
    words = join_words(spans(' "', "Well", ",", " o", "'", "clock", ".", '"', " -", " Yes"), spaced=True)
    assert [word.text for word in words] == ['"Well,', "o'clock.\"", "-", "Yes"]
    assert (words[0].start_s, words[0].end_s) == pytest.approx((0.2, 0.4))
    assert (words[1].start_s, words[1].end_s) == pytest.approx((0.6, 1.2))


def test_characters_of_a_language_without_spaces() -> None:
    words = join_words(spans("「", "今", "日", "」", "は", "。", " ", "晴"), spaced=False)
    assert [word.text for word in words] == ["「今", "日」", "は。", "晴"]


def test_a_pause_is_cut_from_the_first_word_of_a_sentence_only() -> None:
    words = [Span("Go", 0.0, 2.0, 1.0), Span("on.", 2.0, 2.2, 1.0), Span("Then", 2.2, 4.0, 1.0)]
    words += [Span("wait", 4.0, 4.3, 1.0), Span("here", 4.3, 6.0, 1.0), Span("now", 6.0, 6.3, 1.0)]
    words += [Span("then", 6.3, 6.6, 1.0)]
    cut_pauses(words)
    assert [word.start_s for word in words] == pytest.approx([1.4, 2.0, 3.4, 4.0, 4.3, 6.0, 6.3])
    assert [word.end_s for word in words] == [2.0, 2.2, 4.0, 4.3, 6.0, 6.3, 6.6]


def test_words_without_any_duration() -> None:
    words = [Span("So", 1.0, 1.0, 1.0), Span("what", 1.0, 1.0, 1.0)]
    cut_pauses(words)
    assert [(word.start_s, word.end_s) for word in words] == [(1.0, 1.0), (1.0, 1.0)]


def test_a_word_does_not_reach_into_a_pause() -> None:
    window = Window(0, 100.0, 130.0, ((100.3, 102.4), (120.8, 128.0)))
    words = [Span("fellow", 1.2, 1.6, 1.0), Span("Americans,", 1.6, 20.5, 1.0), Span("ask", 2.5, 21.5, 1.0)]
    words.append(Span("unheard", 10.0, 11.0, 1.0))
    cut_to_speech(words, window)
    times = [(word.start_s, word.end_s) for word in words]
    assert times == [pytest.approx(time) for time in ((1.2, 1.6), (1.6, 2.6), (20.6, 21.5), (10.0, 11.0))]


def test_where_nobody_listened_words_stay_as_they_are() -> None:
    words = [Span("So", 1.0, 9.0, 1.0)]
    cut_to_speech(words, Window(0, 0.0, 10.0))
    assert (words[0].start_s, words[0].end_s) == (1.0, 9.0)


def test_neighbours_give_way_to_a_word_of_zero_length() -> None:
    words = [
        Span("So", 1.0, 1.0, 1.0),
        Span("what", 1.0, 1.4, 1.0),
        Span("now", 2.0, 2.0, 1.0),
        Span("?", 2.0, 2.0, 1.0),
    ]
    make_room(words, 2.0)
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == pytest.approx([1.0, 1.02, 1.02, 1.4, 1.96, 1.98, 1.98, 2.0])


def test_words_that_overlap_come_one_after_the_other() -> None:
    words = [Span("So", 1.0, 3.0, 1.0), Span("what", 0.5, 1.4, 1.0)]
    make_room(words, 5.0)
    assert [(word.start_s, word.end_s) for word in words] == [(1.0, 3.0), (3.0, pytest.approx(3.02))]


def test_more_words_than_a_short_window_has_room_for_share_it() -> None:
    window = Window(0, 7.0, 7.1)
    words = timed_words([Span(f"w{i}", 0.1, 0.1, 1.0) for i in range(20)], window)
    assert_in_order(words, window)


def test_a_translation_has_spaces_whatever_was_spoken(tmp_path: Path) -> None:
    vocabulary = Vocabulary(make_multilingual_model(tmp_path), multilingual=True)
    assert is_spaced(vocabulary.tokenizer("ja", "translate"))
    assert not is_spaced(vocabulary.tokenizer("ja", "transcribe"))
    assert is_spaced(vocabulary.tokenizer("de", "transcribe"))
    assert is_spaced(Vocabulary(DEMO_MODEL, multilingual=False).tokenizer("en", "transcribe"))


def test_each_token_has_its_log_probability_where_it_is_asked_for(
    generator: TextGenerator, items: list[DecodeItem], transcripts: list[Transcript]
) -> None:
    asked = generator.generate([replace(item, options=DecodeOptions(logprobs=True)) for item in items])
    for item, plain, transcript in zip(items, transcripts, asked, strict=True):
        assert (plain.logprobs, transcript.words, transcript.text) == ((), (), plain.text)
        assert "".join(token.text for token in transcript.logprobs).strip() == transcript.text
        assert all(token.logprob <= 0 for token in transcript.logprobs)
        mean = sum(token.logprob for token in transcript.logprobs) / len(transcript.tokens)
        assert mean == pytest.approx(generator.log_probability(item.states, transcript), abs=1e-3)


def test_the_tokens_of_a_draft_have_the_log_probabilities_that_aligning_them_gives(
    generator: TextGenerator, items: list[DecodeItem]
) -> None:
    drafts = generator.generate([replace(item, options=DecodeOptions(draft=True)) for item in items])
    aligned = generator.generate([replace(item, options=DecodeOptions(logprobs=True)) for item in items])
    more: list[float] = []
    for draft, known in zip(drafts, aligned, strict=True):
        assert [token.text for token in draft.logprobs] == [token.text for token in known.logprobs]
        pairs = zip(draft.logprobs, known.logprobs, strict=True)
        more += [own.logprob - other.logprob for own, other in pairs]
    assert np.median(np.abs(more)) < 0.01
    assert min(more) > -0.1, "tokens that are never generated leave their probability to the others"


def test_words_that_cannot_be_aligned_share_the_window(items: list[DecodeItem]) -> None:
    class Unable:
        def align(self, *_arguments: object, **_options: object) -> None:
            raise RuntimeError("no path")

    tokenizer = Vocabulary(DEMO_MODEL, multilingual=False).tokenizer("en", "transcribe")
    tokens = tuple(tokenizer.encode(" the train left"))
    window = Window(0, OFFSET_S, OFFSET_S + 3.0)
    spans, logprobs = align(Unable(), tokenizer, items[0].states, tokens, window)
    assert logprobs == ()
    assert [span.text for span in spans] == ["the", "train", "left"]
    assert {span.probability for span in spans} == {0.0}
    assert_in_order(timed_words(spans, window), window)
