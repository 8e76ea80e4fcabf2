"""Everything that a run found: one JSON file, which holds all that the page needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from loadtests.benchmarks.accuracy.bootstrap import Compared
from loadtests.benchmarks.accuracy.contenders import Transcription
from loadtests.benchmarks.accuracy.corpus import CorpusFile
from loadtests.benchmarks.accuracy.journal import Journal, Turn
from loadtests.benchmarks.accuracy.scoring import Score, is_loop, score
from loadtests.common.replies import OK


@dataclass(frozen=True)
class JudgedAnswer:
    """One answer and its score.

    Attributes:
        score: None where the recording is not scored. An answer other than 200 counts as an empty text.
        loop: whether the text repeats itself.
    """

    answer: Transcription
    score: Score | None
    loop: bool

    @property
    def is_good(self) -> bool:
        return self.answer.status == OK


@dataclass(frozen=True)
class AccuracyRun:
    """The contenders of one run, the model, and the machine.

    Attributes:
        machine: what ``machine_facts`` returned.
        languages: the languages that the model knows.
        setups: contender -> what it ran with.
        services: the contenders that are the service; all others are peers.
        rated: the contenders whose error rates are shown.
        main: the one of them whose error rates are compared.
        peer: what it is compared with; empty where no peer ran.
    """

    command: str
    corpus: str
    model: str
    audio_context: str
    languages: tuple[str, ...]
    machine: dict[str, Any]
    setups: dict[str, str]
    services: tuple[str, ...]
    rated: tuple[str, ...]
    main: str
    peer: str


@dataclass(frozen=True)
class Results:
    """One run.

    Attributes:
        recordings: file -> each recording that was sent.
        unsent: why -> how many files of the corpus were not sent.
        judged: contender -> file -> answer.
        turns: contender -> the turns it finished.
    """

    subject: AccuracyRun
    recordings: dict[str, CorpusFile]
    unsent: dict[str, int]
    judged: dict[str, dict[str, JudgedAnswer]]
    turns: dict[str, list[Turn]]

    def scored(self) -> list[CorpusFile]:
        """Return the recordings whose text was compared for every contender, for all rates are of the same ones."""
        rated = [self.judged[name] for name in self.subject.rated]
        return [
            recording
            for file, recording in self.recordings.items()
            if all(file in judged and judged[file].score for judged in rated)
        ]

    def compared(self, name: str, other: str, recordings: Iterable[CorpusFile]) -> list[Compared]:
        """Return the errors of two contenders in each of these scored recordings."""
        pairs = (
            (recording.speaker, self.judged[name][recording.file].score, self.judged[other][recording.file].score)
            for recording in recordings
        )
        return [Compared(who, one.units, one.errors, two.errors) for who, one, two in pairs if one and two]

    def different(self) -> tuple[int, list[str]]:
        """Return how many files two runs of the service answered with 200, and those with more than one text."""
        texts = {file: self._texts(file) for file in self.recordings}
        repeated = {file: found for file, found in texts.items() if len(found) > 1}
        return len(repeated), [file for file, found in repeated.items() if len(set(found)) > 1]

    def _texts(self, file: str) -> list[str]:
        found = (self.judged[name].get(file) for name in self.subject.services)
        return [judged.answer.text for judged in found if judged and judged.is_good]

    def unfinished(self) -> dict[str, int]:
        """Return contender -> how many recordings it was not given, where there are any: the run was cut off."""
        left = {name: len(self.recordings) - len(judged) for name, judged in self.judged.items()}
        return {name: count for name, count in left.items() if count}

    def failures(self, name: str) -> Counter[str]:
        """Return status and code -> how many answers other than 200."""
        answers = (judged.answer for judged in self.judged[name].values() if not judged.is_good)
        return Counter(f"{answer.status} {answer.code}" for answer in answers)

    def loops(self, name: str) -> list[str]:
        """Return the files whose text repeats itself."""
        return [file for file, judged in self.judged[name].items() if judged.loop]

    def invented(self, name: str) -> list[tuple[str, str]]:
        """Return file and text of every recording in which nobody speaks and that has a text all the same."""
        return [
            (file, judged.answer.text)
            for file, judged in self.judged[name].items()
            if self.recordings[file].is_wordless and judged.answer.text
        ]

    def missing(self, name: str) -> list[tuple[str, str]]:
        """Return file and words of every stretch of speech of which a 200 has nothing."""
        good = ((file, judged.score) for file, judged in self.judged[name].items() if judged.is_good and judged.score)
        return [(file, words) for file, found in good for words in found.missing]

    def languages(self, name: str) -> tuple[int, list[tuple[str, str, str]]]:
        """Return how many answers name a language that is known, and file, spoken and named one of those that err."""
        known = [
            (file, self.recordings[file].language, judged.answer.language)
            for file, judged in self.judged[name].items()
            if judged.answer.language and self.recordings[file].language in self.subject.languages
        ]
        return len(known), [item for item in known if item[1] != item[2]]


ADAPTER = TypeAdapter(Results)


def judge_answers(
    subject: AccuracyRun, recordings: Sequence[CorpusFile], unsent: Counter[str], journal: Journal
) -> Results:
    """Score all answers of a journal."""
    by_file = {recording.file: recording for recording in recordings}
    judged = {
        name: {file: _judge(by_file[file], answer) for file, answer in journal.answers[name].items() if file in by_file}
        for name in subject.setups
    }
    return Results(subject, by_file, dict(unsent), judged, dict(journal.turns))


def _judge(recording: CorpusFile, answer: Transcription) -> JudgedAnswer:
    compared = None if recording.unscored else score(recording.sentences, answer.text, recording.language)
    return JudgedAnswer(answer, compared, is_loop(answer.text, recording.reference))


def write_results(results: Results, path: Path) -> None:
    """Write the JSON."""
    path.write_bytes(ADAPTER.dump_json(results, indent=1))


def read_results(path: Path) -> Results:
    """Read what ``write_results`` wrote."""
    return ADAPTER.validate_json(path.read_bytes())
