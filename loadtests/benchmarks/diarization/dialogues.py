"""Dialogues that are joined from read sentences: their turns, words and readers are known exactly."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtests.benchmarks.accuracy.corpus import CorpusFile, read_corpus
from loadtests.benchmarks.diarization.timeline import Said, Spoken
from loadtests.common.speech import read_pcm
from loadtests.common.wav import RATE

COLLECTION = "librispeech"
SHORTEST_S, LONGEST_S = 120.0, 300.0
GAP_S = (0.3, 0.7)
LEAD_S = 0.3
SIZES = (2, 4)
"""Readers of every other dialogue."""
SEED = 2026
MEETING_READERS = 6
MEETING_S = 3600.0


@dataclass(frozen=True)
class Dialogue:
    """Sentences of several readers, one after the other.

    Attributes:
        pcm: ``[n_samples]``, 16 kHz mono.
        said: one per turn.
    """

    name: str
    pcm: NDArray[np.int16]
    turns: tuple[Spoken, ...]
    said: tuple[Said, ...]


@dataclass(frozen=True)
class Sentence:
    """What one reader reads at once."""

    reader: str
    text: str
    pcm: NDArray[np.int16]


def read_sentences(corpus: Path) -> list[Sentence]:
    """Return the read sentences of a corpus with a manifest: all of its folder ``librispeech``.

    Raises:
        ValueError: the directory is no corpus.
    """
    chosen = [recording for recording in read_corpus(corpus) if recording.collection == COLLECTION]
    return [_sentence(corpus, recording) for recording in chosen]


def make_dialogues(sentences: Sequence[Sentence], count: int) -> Iterator[Dialogue]:
    """Yield dialogues of two and of four readers by turns, each of two to five minutes; the same ones every time.

    Raises:
        ValueError: there are too few readers.
    """
    by_reader = _by_reader(sentences, max(SIZES) if count else 0)
    for number in range(count):
        size = SIZES[number % len(SIZES)]
        rng = random.Random(SEED + number)  # noqa: S311  (no secret)
        readers = rng.sample(sorted(by_reader), size)
        name = f"constructed_{size}_voices_{number // len(SIZES) + 1}"
        turns = _by_turns(rng, {reader: by_reader[reader] for reader in readers})
        yield _joined(name, turns, rng, rng.uniform(SHORTEST_S, LONGEST_S))


def make_meeting(sentences: Sequence[Sentence]) -> Dialogue:
    """Return an hour of six readers, who read their sentences again and again; the same one every time.

    Raises:
        ValueError: there are too few readers.
    """
    rng = random.Random(SEED)  # noqa: S311  (no secret)
    by_reader = _by_reader(sentences, MEETING_READERS)
    chosen = {reader: by_reader[reader] for reader in rng.sample(sorted(by_reader), MEETING_READERS)}
    shortest_s = min(sum(len(sentence.pcm) for sentence in own) for own in chosen.values()) / RATE
    rounds = 1 + int(MEETING_S / shortest_s)
    turns = _by_turns(rng, {reader: own * rounds for reader, own in chosen.items()})
    return _joined(f"meeting_{MEETING_READERS}_voices", turns, rng, MEETING_S)


def _by_reader(sentences: Sequence[Sentence], needed: int) -> dict[str, list[Sentence]]:
    found: defaultdict[str, list[Sentence]] = defaultdict(list)
    for sentence in sentences:
        found[sentence.reader].append(sentence)
    if len(found) < needed:
        raise ValueError(
            f"{COLLECTION}/ has {len(found)} readers, and dialogues need {needed}. "
            "Name a corpus with more of them, or leave --constructed and --meeting out."
        )
    return found


def _sentence(corpus: Path, recording: CorpusFile) -> Sentence:
    pcm = np.frombuffer(read_pcm(corpus / recording.file), np.int16)
    return Sentence(recording.speaker, recording.reference, pcm)


def _by_turns(rng: random.Random, sentences: dict[str, list[Sentence]]) -> Iterator[Sentence]:
    """Yield each reader's sentences in their order, nobody twice in a row while somebody else has any left."""
    left = {reader: list(own) for reader, own in sentences.items()}
    last = ""
    while any(left.values()):
        others = [reader for reader, own in left.items() if own and reader != last]
        if not others:
            return
        last = rng.choice(others)
        yield left[last].pop(0)


def _joined(name: str, sentences: Iterator[Sentence], rng: random.Random, until_s: float) -> Dialogue:
    parts, turns, said = [_silence(LEAD_S)], [], []
    samples = len(parts[0])
    for sentence in sentences:
        end = samples + len(sentence.pcm)
        turns.append(Spoken(samples / RATE, end / RATE, sentence.reader))
        said.append(Said(sentence.reader, sentence.text))
        gap = _silence(rng.uniform(*GAP_S))
        parts += [sentence.pcm, gap]
        samples = end + len(gap)
        if samples >= until_s * RATE:
            break
    return Dialogue(name, np.concatenate(parts), tuple(turns), tuple(said))


def _silence(seconds: float) -> NDArray[np.int16]:
    return np.zeros(round(seconds * RATE), np.int16)
