"""Error rates of groups of recordings, as the page's tables and its plot show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deployments.shared.languages import LANGUAGES
from loadtests.benchmarks.accuracy.bootstrap import Estimate, difference, error_rate
from loadtests.benchmarks.accuracy.corpus import CorpusFile
from loadtests.benchmarks.accuracy.results import Results
from loadtests.benchmarks.accuracy.scoring import ENGLISH

Label = Callable[[CorpusFile], str]


@dataclass(frozen=True)
class Group:
    """Some recordings of one measure.

    Attributes:
        measure: ``WER`` or ``CER``.
        units: words or characters that are spoken.
        rates: contender -> error rate.
        behind: how much higher the service's rate is than the peer's; None where no peer ran.
    """

    label: str
    measure: str
    files: int
    speakers: int
    units: int
    rates: Mapping[str, Estimate]
    behind: Estimate | None

    @property
    def is_worse(self) -> bool:
        """Whether the service errs more by more than the interval of the difference."""
        return self.behind is not None and self.behind.low is not None and self.behind.low > 0

    @property
    def may_be_worse(self) -> bool:
        """Whether the service errs more where one speaker is all there is, so that no interval can be had."""
        return self.behind is not None and self.behind.low is None and self.behind.value > 0


def measure_of(recording: CorpusFile) -> str:
    """Return ``WER`` for English, whose words are counted, and ``CER`` for other languages, whose characters are."""
    return "WER" if recording.language == ENGLISH else "CER"


def by_category(recording: CorpusFile) -> str:
    """Label a recording by its category."""
    return recording.category


def by_collection(recording: CorpusFile) -> str:
    """Label a recording by its collection."""
    return recording.collection


def by_language(recording: CorpusFile) -> str:
    """Label a recording by its language."""
    return LANGUAGES[recording.language].capitalize()


def everything(recording: CorpusFile) -> str:
    """Label a recording as English or not."""
    return "all English" if recording.language == ENGLISH else "all other languages"


def groups(results: Results, *labels: Label) -> list[Group]:
    """Return the groups that each label makes, in the order of the labels; words and characters are kept apart."""
    found: dict[tuple[str, str], list[CorpusFile]] = {}
    for label in labels:
        for recording in sorted(results.scored(), key=lambda one: (measure_of(one) != "WER", label(one))):
            found.setdefault((label(recording), measure_of(recording)), []).append(recording)
    return [_group(results, label, measure, members) for (label, measure), members in found.items()]


def _group(results: Results, label: str, measure: str, members: list[CorpusFile]) -> Group:
    main, peer = results.subject.main, results.subject.peer
    compared = {name: results.compared(name, peer or name, members) for name in results.subject.rated}
    return Group(
        label=label,
        measure=measure,
        files=len(members),
        speakers=len({one.speaker for one in members}),
        units=sum(one.units for one in compared[main]),
        rates={name: error_rate(found) for name, found in compared.items()},
        behind=difference(compared[main]) if peer else None,
    )
