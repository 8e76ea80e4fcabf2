"""Text from encoder states: quality, independence from the batch, prompts, bounds, languages."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import ctranslate2
import jiwer
import numpy as np
import pytest

from deployments.decoder import language, quality
from deployments.decoder.generation import TextGenerator
from deployments.decoder.language import Language, competitors
from deployments.decoder.quality import Attempt
from deployments.decoder.search import Search
from deployments.decoder.steps import DecodeItem, max_new_tokens
from deployments.decoder.vocabulary import MAX_PROMPT_TOKENS, Vocabulary
from deployments.shared.contracts import DecodeOptions, Window
from deployments.shared.errors import ConfigurationError, UnsupportedLanguageError
from loadtests.benchmarks.parts.words import words
from loadtests.common.random_whisper import N_MELS
from tests.support.paths import ROOT
from tests.support.spoken_clips import DEMO_MODEL, Clip, encode, load_clips
from tests.support.tiny_whisper import D_MODEL, LANGUAGES, make_multilingual_model

SHORT_CLIPS = 9
GREEDY = DecodeOptions()
PROMPTED = Search("en", prompted=True)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return load_clips()


@pytest.fixture(scope="module")
def items(clips: list[Clip]) -> list[DecodeItem]:
    """Every clip as one greedy window."""
    windows = [Window(0, 0.0, clip.duration_s) for clip in clips]
    return [DecodeItem(states, window, GREEDY) for states, window in zip(encode(clips), windows, strict=True)]


@pytest.fixture(scope="module")
def demo() -> TextGenerator:
    return TextGenerator(DEMO_MODEL)


@pytest.fixture(scope="module")
def multilingual_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_multilingual_model(tmp_path_factory.mktemp("multilingual"))


@pytest.fixture(scope="module")
def multilingual(multilingual_dir: Path) -> TextGenerator:
    return TextGenerator(multilingual_dir)


def random_items(count: int, *, duration_s: float = 4.0, options: DecodeOptions = GREEDY) -> list[DecodeItem]:
    rng = np.random.default_rng(7)
    window = Window(0, 0.0, duration_s)
    return [DecodeItem(3 * rng.standard_normal((100, D_MODEL), np.float32), window, options) for _ in range(count)]


def with_options(items: Sequence[DecodeItem], options: DecodeOptions) -> list[DecodeItem]:
    return [replace(item, options=options) for item in items]


def attempts_at(generator: TextGenerator, item: DecodeItem) -> list[Attempt]:
    """What each search found for one window."""
    decoding = generator.begin(item)
    while decoding.transcript is None:
        generator.advance([decoding])
    return decoding.attempts


def test_a_shortened_window_without_a_good_text_is_to_be_encoded_in_full(multilingual_dir: Path) -> None:
    plain = TextGenerator(multilingual_dir)
    item = next(
        item for item in random_items(40, options=DecodeOptions(language="de")) if len(attempts_at(plain, item)) > 1
    )
    shortened = TextGenerator(multilingual_dir, full_states=len(item.states) + 1)
    (transcript,) = shortened.generate([item])
    assert transcript.needs_full_window
    assert len(attempts_at(shortened, item)) == 1, "nothing else is tried before"
    (transcript,) = TextGenerator(multilingual_dir, full_states=len(item.states)).generate([item])
    assert not transcript.needs_full_window


def test_a_draft_is_searched_for_once_in_its_likeliest_language_and_never_encoded_again(
    multilingual_dir: Path, multilingual: TextGenerator
) -> None:
    items = random_items(40)
    assert any(len(attempts_at(multilingual, item)) > 1 for item in items)
    shortened = TextGenerator(multilingual_dir, full_states=len(items[0].states) + 1)
    drafts = with_options(items, DecodeOptions(draft=True))
    assert {len(attempts_at(shortened, draft)) for draft in drafts} == {1}
    transcripts = shortened.generate(drafts)
    assert not any(transcript.needs_full_window for transcript in transcripts)
    likeliest = [language_of(multilingual, item) for item in items]
    assert [transcript.language for transcript in transcripts] == likeliest


def language_of(generator: TextGenerator, item: DecodeItem) -> str:
    """The likeliest language of one window."""
    decoding = generator.begin(item)
    while decoding.language is None:
        generator.advance([decoding])
    return decoding.language.code


def test_a_draft_whose_text_may_end_early_is_not_aligned(demo: TextGenerator, items: list[DecodeItem]) -> None:
    window = Window(0, 0.0, 30.0, speech=((0.0, 1.0), (9.0, 29.0)))
    whole, draft = replace(items[0], window=window), replace(items[0], window=window, options=DecodeOptions(draft=True))
    (with_rest,), (without,) = demo.generate([whole]), demo.generate([draft])
    assert with_rest.rest_from_s is not None
    assert replace(without, logprobs=()) == replace(with_rest, rest_from_s=None)


def test_a_good_text_of_a_shortened_window_is_kept(items: list[DecodeItem]) -> None:
    generator = TextGenerator(DEMO_MODEL, full_states=1500)
    assert not any(transcript.needs_full_window for transcript in generator.generate(items[:SHORT_CLIPS]))


def test_word_error_rate_of_short_clips(demo: TextGenerator, clips: list[Clip], items: list[DecodeItem]) -> None:
    texts = [transcript.text for transcript in demo.generate(items[:SHORT_CLIPS])]
    error_rate = jiwer.wer([words(clip.spoken) for clip in clips[:SHORT_CLIPS]], [words(text) for text in texts])
    assert error_rate <= 0.15


@pytest.mark.parametrize("compute_type", ["int8", "float32"])
@pytest.mark.parametrize("beam_size", [1, 5])
def test_text_does_not_depend_on_the_batch(compute_type: str, beam_size: int, items: list[DecodeItem]) -> None:
    generator = TextGenerator(DEMO_MODEL, compute_type=compute_type)
    rng = np.random.default_rng(0)
    # Disturbed states make the model hesitate between tokens, where a rounding difference would show.
    noise = [rng.normal(0.0, 0.3, item.states.shape).astype(np.float32) for item in items[:6]]
    hesitant = [replace(item, states=item.states + each) for item, each in zip(items, noise, strict=False)]
    pool = with_options([*items, *hesitant], DecodeOptions(beam_size=beam_size))
    alone = [generator.generate([item])[0].tokens for item in pool]
    for size in (2, 3, 8, len(pool)):
        chosen = rng.permutation(len(pool))[:size]
        together = generator.generate([pool[index] for index in chosen])
        assert [transcript.tokens for transcript in together] == [alone[index] for index in chosen]


def test_the_encoder_never_runs(tmp_path: Path, demo: TextGenerator, items: list[DecodeItem]) -> None:
    """A model whose encoder is ruined gives the same texts: all it needs comes with the states."""
    ruined = tmp_path / "ruined"
    shutil.copytree(DEMO_MODEL, ruined, ignore=shutil.ignore_patterns("recipe"))
    data = bytearray((DEMO_MODEL / "model.bin").read_bytes())
    name = b"encoder/conv1/weight\0"
    header = data.index(name) + len(name)  # rank, three dimensions, dtype, bytes
    n_bytes = int.from_bytes(data[header + 14 : header + 18], "little")
    data[header + 18 : header + 18 + n_bytes] = bytes(n_bytes)
    (ruined / "model.bin").write_bytes(data)
    mel = ctranslate2.StorageView.from_array(np.ones((1, N_MELS, 400), np.float32))
    healthy, spoiled = (np.array(ctranslate2.models.Whisper(str(path)).encode(mel)) for path in (DEMO_MODEL, ruined))
    assert np.abs(healthy - spoiled).max() > 1
    with_ruined_encoder = TextGenerator(ruined).generate(items)
    assert [transcript.text for transcript in with_ruined_encoder] == [t.text for t in demo.generate(items)]


def test_mixed_requests_keep_their_order_and_their_own_options(demo: TextGenerator, items: list[DecodeItem]) -> None:
    mixed = [
        replace(items[0], options=DecodeOptions(prompt="A train")),
        items[1],
        replace(items[2], options=DecodeOptions(beam_size=3)),
        replace(items[3], options=DecodeOptions(word_times=True)),
        replace(items[9], options=DecodeOptions(prompt="A train", beam_size=3)),
        items[5],
    ]
    together = demo.generate(mixed)
    assert [transcript.text for transcript in together] == [demo.generate([item])[0].text for item in mixed]
    assert [bool(transcript.words) for transcript in together] == [False, False, False, True, False, False]


def test_no_items(demo: TextGenerator) -> None:
    assert demo.generate([]) == []


def test_scores_are_those_of_faster_whisper(demo: TextGenerator, items: list[DecodeItem]) -> None:
    transcript = demo.generate(items[:1])[0]
    model = ctranslate2.models.Whisper(str(DEMO_MODEL), compute_type="int8", intra_threads=1)
    start = Vocabulary(DEMO_MODEL, multilingual=False).prompt(GREEDY, PROMPTED)
    result = model.generate(
        ctranslate2.StorageView.from_array(items[0].states[None].copy()),
        [start],
        beam_size=1,
        return_scores=True,
        return_no_speech_prob=True,
    )[0]
    length = len(result.sequences_ids[0])
    assert transcript.avg_logprob == pytest.approx(result.scores[0] * length / (length + 1), abs=1e-4)
    assert transcript.no_speech_prob == pytest.approx(result.no_speech_prob, abs=1e-4)
    assert (transcript.temperature, transcript.language, transcript.language_probability) == (0.0, "en", 1.0)


def test_silence_gives_no_text_and_finite_scores(demo: TextGenerator) -> None:
    silence = Clip("silence", np.zeros(3 * 16_000, np.int16), "")
    item = DecodeItem(encode([silence])[0], Window(0, 0.0, 3.0), DecodeOptions(word_times=True))
    transcript = demo.generate([item])[0]
    assert (transcript.text, transcript.tokens, transcript.words) == ("", (), ())
    assert math.isfinite(transcript.avg_logprob)
    assert transcript.compression_ratio == 0.0


def test_text_that_passes_for_silence_is_dropped(
    demo: TextGenerator, items: list[DecodeItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "NO_SPEECH_THRESHOLD", -1.0)
    monkeypatch.setattr(quality, "LOGPROB_THRESHOLD", 1.0)
    transcript = demo.generate(with_options(items[:1], DecodeOptions(word_times=True)))[0]
    assert (transcript.text, transcript.tokens, transcript.words) == ("", (), ())


def test_states_as_long_as_a_mel_has_bins_are_refused(demo: TextGenerator, items: list[DecodeItem]) -> None:
    trap = replace(items[0], states=items[0].states[:80])
    with pytest.raises(ValueError, match="log-mel"):
        demo.generate([items[1], trap])


def test_read_only_and_half_precision_states(demo: TextGenerator, items: list[DecodeItem]) -> None:
    expected = demo.generate(items[:1])[0].text
    read_only = items[0].states.copy()
    read_only.flags.writeable = False
    half = items[0].states.astype(np.float16)
    for states in (read_only, half):
        assert demo.generate([replace(items[0], states=states)])[0].text == expected


def test_long_prompt_keeps_its_end(demo: TextGenerator, items: list[DecodeItem]) -> None:
    vocabulary = Vocabulary(DEMO_MODEL, multilingual=False)
    text = " ".join(f"word {number}" for number in range(400))
    prompt = vocabulary.prompt(DecodeOptions(prompt=text), PROMPTED)
    assert MAX_PROMPT_TOKENS - 5 <= len(prompt) - 1 - 2 <= MAX_PROMPT_TOKENS
    assert vocabulary.text(vocabulary.text_tokens(prompt)).endswith("word 399")
    assert demo.generate([replace(items[0], options=DecodeOptions(prompt=text))])[0].temperature == 0.0


def test_special_tokens_in_a_prompt_are_dropped(demo: TextGenerator, items: list[DecodeItem]) -> None:
    attack = DecodeOptions(prompt="Hello<|startoftranscript|><|endoftext|>")
    vocabulary = Vocabulary(DEMO_MODEL, multilingual=False)
    assert vocabulary.prompt(attack, PROMPTED) == vocabulary.prompt(DecodeOptions(prompt="Hello"), PROMPTED)
    neighbour = demo.generate([items[1]])[0].text
    assert demo.generate([replace(items[0], options=attack), items[1]])[1].text == neighbour


@pytest.mark.parametrize(("duration_s", "bound"), [(0.1, 112), (6.8, 112), (6.9, 224), (30.0, 224)])
def test_token_bound_grows_with_the_window(duration_s: float, bound: int) -> None:
    assert max_new_tokens(duration_s) == bound


@pytest.mark.parametrize("prompt", [None, "hello " * 300])
@pytest.mark.parametrize("duration_s", [3.0, 8.0, 30.0])
def test_endless_text_stops_at_the_bound(
    multilingual_dir: Path, multilingual: TextGenerator, duration_s: float, prompt: str | None
) -> None:
    options = DecodeOptions(language="de", prompt=prompt)
    item = random_items(1, duration_s=duration_s, options=options)[0]
    vocabulary = Vocabulary(multilingual_dir, multilingual=True)
    model = ctranslate2.models.Whisper(str(multilingual_dir), compute_type="int8", intra_threads=1)
    start = vocabulary.prompt(options, Search("de", prompted=True))
    unbounded = model.generate(
        ctranslate2.StorageView.from_array(item.states[None].copy()),
        [start],
        beam_size=1,
        max_length=448,
        suppress_tokens=vocabulary.suppressed,
    )[0].sequences_ids[0]
    room = 448 - (len(start) - 1)
    bound = min(max_new_tokens(duration_s), room)
    assert len(unbounded) == min(224, room)
    (attempt, *_) = attempts_at(multilingual, item)
    assert attempt.tokens == vocabulary.text_tokens(unbounded[:bound])
    assert not attempt.ended
    # Which of the attempts is the likeliest differs from CPU to CPU; none is longer.
    assert len(multilingual.generate([item])[0].tokens) <= bound


def test_beam_search_finds_a_likelier_text(multilingual: TextGenerator) -> None:
    items = random_items(6, options=DecodeOptions(language="en"))
    greedy = multilingual.generate(items)
    beam = multilingual.generate(with_options(items, DecodeOptions(language="en", beam_size=5)))
    assert np.mean([it.avg_logprob for it in beam]) > np.mean([it.avg_logprob for it in greedy])


def test_a_client_that_asks_for_a_temperature_gets_various_texts(multilingual: TextGenerator) -> None:
    (item,) = random_items(1, options=DecodeOptions(language="en", temperature=1.0))
    first = [attempts_at(multilingual, item)[0] for _ in range(4)]
    assert {attempt.search.temperature for attempt in first} == {1.0}
    assert len({attempt.tokens for attempt in first}) > 1


def test_what_the_fallback_samples_depends_on_nothing_but_the_audio(
    items: list[DecodeItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "LOGPROB_THRESHOLD", 1.0)  # no text is good enough

    def sampled(before: int) -> list[Attempt]:
        generator = TextGenerator(DEMO_MODEL, fallback_temperatures=(0.8, 1.0))
        attempts = [attempts_at(generator, item) for item in (*items[1 : 1 + before], items[0])]
        return [attempt for attempt in attempts[-1] if attempt.search.seeded]

    assert [attempt.search.temperature for attempt in sampled(0)] == [0.8, 1.0]
    assert sampled(0) == sampled(2)


def test_a_request_may_name_its_own_temperatures_to_fall_back_to(
    items: list[DecodeItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "LOGPROB_THRESHOLD", 1.0)  # no text is good enough
    generator = TextGenerator(DEMO_MODEL, fallback_temperatures=(0.8,))

    def sampled_at(temperatures: tuple[float, ...] | None) -> list[float]:
        (item,) = with_options(items[:1], replace(GREEDY, fallback_temperatures=temperatures))
        return [attempt.search.temperature for attempt in attempts_at(generator, item) if attempt.search.seeded]

    assert sampled_at(None) == [0.8]
    assert sampled_at(()) == []
    assert sampled_at((0.5, 1.0)) == [0.5, 1.0]


def test_a_text_that_is_not_good_is_looked_for_in_other_ways(items: list[DecodeItem]) -> None:
    rng = np.random.default_rng(3)
    noise = Clip("noise", (rng.standard_normal(8 * 16_000) * 6_000).clip(-32_768, 32_767).astype(np.int16), "")
    bad = DecodeItem(encode([noise])[0], Window(0, 0.0, noise.duration_s), GREEDY)
    generator = TextGenerator(DEMO_MODEL)
    good, found = (generator.begin(item) for item in (items[0], bad))
    for decoding in (good, found):
        generator.advance([decoding])
    assert good.transcript == generator.generate([items[0]])[0]
    assert found.transcript is None
    assert found.attempts[0].avg_logprob < -1.0
    transcript = generator.generate([bad])[0]
    assert transcript.avg_logprob > found.attempts[0].avg_logprob
    assert generator.generate([bad, replace(items[0], states=items[0].states[: len(bad.states)])])[0] == transcript


def test_languages_of_the_models(demo: TextGenerator, multilingual: TextGenerator) -> None:
    assert (demo.multilingual, demo.languages) == (False, ("en",))
    assert multilingual.multilingual
    assert sorted(multilingual.languages) == sorted(LANGUAGES)


def test_language_is_detected_from_the_states(
    multilingual_dir: Path, multilingual: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language, "SURE_LANGUAGE", 0.0)  # none competes with the likeliest
    items = random_items(12)
    model = ctranslate2.models.Whisper(str(multilingual_dir), compute_type="int8", intra_threads=1)
    detected = multilingual.generate(items)
    for item, transcript in zip(items, detected, strict=True):
        token, probability = model.detect_language(ctranslate2.StorageView.from_array(item.states[None].copy()))[0][0]
        assert token == f"<|{transcript.language}|>"
        assert transcript.language_probability == pytest.approx(probability, abs=1e-4)
        given = replace(item, options=DecodeOptions(language=transcript.language))
        assert multilingual.generate([given])[0].tokens == transcript.tokens
    assert len({transcript.language for transcript in detected}) > 1


def test_a_language_is_detected_among_those_that_it_may_be(multilingual: TextGenerator) -> None:
    items = random_items(12)
    free = {transcript.language for transcript in multilingual.generate(items)}
    among = ("en", "de")
    held = multilingual.generate(with_options(items, DecodeOptions(among=among)))
    assert free - set(among), "some would be in another language"
    assert {transcript.language for transcript in held} <= set(among)


def test_a_window_is_in_the_language_before_it_unless_its_own_is_much_likelier(
    multilingual: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = random_items(4)
    before = DecodeOptions(language_before="ja", draft=True)
    monkeypatch.setattr(language, "CHANGES", 1e9)
    held = multilingual.generate(with_options(items, before))
    given = multilingual.generate(with_options(items, DecodeOptions(language="ja", draft=True)))
    assert {transcript.language for transcript in held} == {"ja"}
    assert all(transcript.language_probability < 1.0 for transcript in held), "as detected"
    assert [transcript.tokens for transcript in held] == [transcript.tokens for transcript in given]
    monkeypatch.setattr(language, "CHANGES", 0.0)
    own = multilingual.generate(with_options(items, DecodeOptions(draft=True)))
    both = multilingual.generate(with_options(items, before))
    likelier = [max(pair, key=lambda transcript: transcript.avg_logprob) for pair in zip(own, given, strict=True)]
    assert [transcript.tokens for transcript in both] == [transcript.tokens for transcript in likelier]


def test_a_doubtful_language_competes_with_the_other_likely_ones() -> None:
    def tried(*probabilities: float, heard_s: float = 8.0) -> int:
        return len(competitors(tuple(Language("de", each) for each in probabilities), heard_s))

    assert tried(0.8, 0.15, 0.03) == 1
    assert tried(0.66, 0.30, 0.01, 0.0, heard_s=0.6) == 1
    assert tried(0.66, 0.30, 0.01, 0.0) == 2
    assert tried(0.4, 0.3, 0.2, 0.06) == 4


def test_languages_and_tasks_mix_in_one_batch(multilingual: TextGenerator) -> None:
    options = [
        DecodeOptions(language="de"),
        DecodeOptions(language="fr"),
        GREEDY,
        DecodeOptions(language="de", task="translate"),
        DecodeOptions(language="ja", word_times=True),
    ]
    same = random_items(1)[0]
    items = [replace(same, options=each) for each in options]
    together = multilingual.generate(items)
    assert together == [multilingual.generate([item])[0] for item in items]
    assert len({transcript.tokens for transcript in together}) >= 4


def test_transcripts_hold_text_tokens_only(multilingual_dir: Path, multilingual: TextGenerator) -> None:
    end = Vocabulary(multilingual_dir, multilingual=True).end
    transcripts = multilingual.generate(random_items(6))
    assert any(transcript.tokens for transcript in transcripts)
    assert all(token < end for transcript in transcripts for token in transcript.tokens)
    assert not any("\ufffd" in transcript.text for transcript in transcripts)


@pytest.mark.parametrize(
    ("options", "param"), [(DecodeOptions(language="de"), "language"), (DecodeOptions(task="translate"), "model")]
)
def test_an_english_only_model_rejects_other_languages(
    demo: TextGenerator, items: list[DecodeItem], options: DecodeOptions, param: str
) -> None:
    item = replace(items[0], options=options)
    for attempt in (lambda: demo.begin(item), lambda: demo.generate([item])):
        with pytest.raises(UnsupportedLanguageError) as rejection:
            attempt()
        assert rejection.value.param == param


def test_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path))):
        TextGenerator(tmp_path)


def test_model_without_a_tokenizer(tmp_path: Path) -> None:
    for file in ("model.bin", "config.json", "vocabulary.json"):
        (tmp_path / file).symlink_to(DEMO_MODEL / file)
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "tokenizer.json"))):
        TextGenerator(tmp_path)


def test_compute_type_the_cpu_lacks() -> None:
    with pytest.raises(ConfigurationError, match="int8_float32"):
        TextGenerator(DEMO_MODEL, compute_type="no_such_type")


def test_a_gpu_that_is_not_there_is_no_cpu() -> None:
    with pytest.raises(ConfigurationError, match="finds no GPU"):
        TextGenerator(DEMO_MODEL, device="cuda")


def test_what_the_http_process_imports_is_light() -> None:
    script = (
        "import sys, deployments.shared.languages, deployments.ingress.transcript.segments\n"
        "assert not {'numpy', 'ctranslate2', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_n_mels_of_the_tiny_model_is_refused_too(multilingual: TextGenerator) -> None:
    item = random_items(1)[0]
    with pytest.raises(ValueError, match="log-mel"):
        multilingual.generate([replace(item, states=item.states[:N_MELS])])


def test_where_nothing_was_heard_the_prompt_is_not_shown(demo: TextGenerator, items: list[DecodeItem]) -> None:
    options = DecodeOptions(prompt="Ecobee", hotwords="Kubernetes")
    heard = replace(items[0], options=options)
    unheard = replace(heard, window=replace(heard.window, speech=()))
    assert demo.begin(heard).searches[0].prompted
    assert not any(search.prompted for search in demo.begin(unheard).searches)
