"""The page ``docs/accuracy.md``: every figure of it comes from the results, so it can be written again at any time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from deployments.decoder.loops import COMPRESSION_RATIO_THRESHOLD
from loadtests.benchmarks.accuracy.bootstrap import RESAMPLES, SEED, Estimate
from loadtests.benchmarks.accuracy.groups import Group, by_category, by_collection, by_language, everything, groups
from loadtests.benchmarks.accuracy.plot import write_plot
from loadtests.benchmarks.accuracy.results import Results
from loadtests.benchmarks.accuracy.scoring import MISSING_CHARACTERS, MISSING_WORDS, PIECE
from loadtests.benchmarks.parts.tables import percent, table

NONE = "none"
LIBRISPEECH, ALLOWED = "librispeech", 0.003
FEW = 10
SHOWN = 40


def write_page(results: Results, page: Path) -> None:
    """Write the page and, beside it, its plot."""
    categories = groups(results, by_category)
    plot = page.with_suffix(".png")
    write_plot(categories, results.subject.rated, plot)
    page.write_text(render(results, categories, plot.name), encoding="utf-8")


def render(results: Results, categories: Sequence[Group], plot: str) -> str:
    """Return the page's Markdown."""
    parts = [
        "# Accuracy",
        _introduction(results),
        _criteria(results, categories),
        "## By category",
        f"![Error rates by category]({plot})",
        _rates(results, [*categories, *groups(results, everything)]),
        "## By collection",
        _rates(results, groups(results, by_collection)),
        "## By language",
        _rates(results, groups(results, by_language)),
        "## Speed",
        _speed(results),
        "## What is missing, differs or failed",
        _lists(results),
        "## What was not compared",
        _unscored(results),
        "## How it is measured",
        _method(results),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(results: Results) -> str:
    subject, machine = results.subject, results.subject.machine
    audio_s = sum(recording.seconds for recording in results.recordings.values())
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return "\n".join(
        [
            f"How well the service hears, with the model `{subject.model}` (audio context `{subject.audio_context}`) "
            "and its default settings, through HTTP"
            + (", against faster-whisper on the same weights in the same run." if subject.peer else "."),
            f"{len(results.recordings)} recordings ({audio_s / 60:.0f} minutes) were sent, "
            f"{len(results.scored())} of them have a text to compare with. All of this page is written by",
            "",
            f"    {subject.command}",
            "",
            f"on {machine['made']}: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; commit "
            f"{machine['commit']}{_changed(machine['changed_files'])}; {versions}. Read figures within this page only.",
            *(f"Cut off: {name} was not given {count}." for name, count in results.unfinished().items()),
        ]
    )


def _changed(files: int) -> str:
    return f" with {files} changed files" if files else ""


def _criteria(results: Results, categories: Sequence[Group]) -> str:
    main = results.subject.main
    rows = [*_against_peer(results, categories), *_by_service(results)]
    heading = f"What is asked of the service, and what was found (error rates: {main})."
    return "\n".join([heading, "", *table(("criterion", "found", "met"), rows)])


def _against_peer(results: Results, categories: Sequence[Group]) -> list[tuple[str, str, str]]:
    if not results.subject.peer:
        return []
    rows = []
    for group in groups(results, by_collection):
        if group.label == LIBRISPEECH and group.behind:
            asked = f"LibriSpeech: at most {100 * ALLOWED:.1f} points above {results.subject.peer}"
            rows.append((asked, f"{_signed(group.behind)} points", _yes(group.behind.value <= ALLOWED)))
    worse = _labels(group for group in categories if group.is_worse)
    unknown = _labels(group for group in categories if group.may_be_worse)
    found = f"worse: {worse}; higher, but with one speaker, so without an interval: {unknown}"
    asked = f"no category worse than {results.subject.peer} by more than the interval of the difference"
    rows.append((asked, found, _yes(worse == NONE)))
    return rows


def _labels(found: Iterable[Group]) -> str:
    return ", ".join(f"{group.label} ({group.measure})" for group in found) or NONE


def _by_service(results: Results) -> list[tuple[str, str, str]]:
    rows = []
    for name in results.subject.services:
        loops, missing = len(results.loops(name)), len(results.missing(name))
        failed, invented = results.failures(name), len(results.invented(name))
        rows += [
            (f"no loops ({name})", str(loops), _yes(not loops)),
            (f"nothing spoken is missing from a 200 ({name})", f"{missing} stretches", _yes(not missing)),
            (f"no words where nobody speaks ({name})", str(invented), _yes(not invented)),
            (f"every answer is 200 ({name})", _counts(failed) or "all", _yes(not failed)),
        ]
    repeated, different = results.different()
    rows.append(
        (
            "the same audio gives the same text in all runs of the service",
            f"{len(different)} of {repeated} differ",
            _yes(not different),
        )
    )
    return rows


def _rates(results: Results, found: Sequence[Group]) -> str:
    peer = results.subject.peer
    head = ["group", "measure", "files", "speakers", "units", *results.subject.rated]
    if peer:
        head.append(f"{results.subject.main} minus {peer}")
    return "\n".join(table(head, (_rate_row(group) for group in found)))


def _rate_row(group: Group) -> list[str]:
    cells = [group.label, group.measure, str(group.files), str(group.speakers), str(group.units)]
    cells += [percent(rate) for rate in group.rates.values()]
    if group.behind:
        cells.append(f"**{_signed(group.behind)}**" if group.is_worse else _signed(group.behind))
    return cells


def _speed(results: Results) -> str:
    rows = []
    for name, turns in results.turns.items():
        seconds, audio_s = sum(turn.seconds for turn in turns), sum(turn.audio_s for turn in turns)
        requests = sum(turn.requests for turn in turns)
        rows.append((name, str(requests), f"{seconds:.0f}", f"{audio_s / seconds:.1f}", f"{requests / seconds:.2f}"))
    head = ("contender", "answers", "seconds", "seconds of audio per second", "requests/s")
    note = (
        "The contenders took turns, the longest recordings of a turn first. The service stays up, idle, while a peer "
        "works, and the client runs on the same machine. Answers other than 200 and "
        "turns that were cut off are not counted."
    )
    return "\n".join([*table(head, rows), "", note])


def _lists(results: Results) -> str:
    lines = []
    for name in results.judged:
        lines += _items(f"{name}: missing", (f"`{file}`: {words}" for file, words in results.missing(name)))
        lines += _items(
            f"{name}: words where nobody speaks", (f"`{file}`: {text}" for file, text in results.invented(name))
        )
        lines += _items(f"{name}: loops", (f"`{file}`" for file in results.loops(name)))
        lines += _items(f"{name}: answers other than 200", map(_item, results.failures(name).items()))
        total, wrong = results.languages(name)
        if total:
            lines += _items(
                f"{name}: language named right in {total - len(wrong)} of {total}",
                (f"`{file}`: {spoken}, named {named}" for file, spoken, named in wrong),
            )
    lines += _items("different texts", (f"`{file}`" for file in results.different()[1]))
    return "\n".join(lines)


def _item(counted: tuple[str, int]) -> str:
    return f"{counted[0]}: {counted[1]}"


def _items(title: str, items: Iterable[str]) -> list[str]:
    found = list(items)
    more = [f"  - and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return [f"- **{title}**" + ("" if found else " - none"), *(f"  - {item}" for item in found[:SHOWN]), *more]


def _unscored(results: Results) -> str:
    sent = Counter(recording.unscored for recording in results.recordings.values() if recording.unscored)
    lines = ["Sent, and counted for loops, differences and failures only:", ""]
    lines += [f"- {why}: {count} files" for why, count in sent.items()] or ["- none"]
    lines += ["", "Not sent:", ""]
    lines += [f"- {why}: {count} files" for why, count in results.unsent.items()] or ["- none"]
    return "\n".join(lines)


def _method(results: Results) -> str:
    setups = [f"- {name}: {setup}." for name, setup in results.subject.setups.items()]
    return "\n".join(
        [
            f"The corpus: {results.subject.corpus}. The contenders:",
            "",
            *setups,
            "",
            "How the figures are made:",
            "",
            "- WER: word error rate, after Whisper's English normaliser. CER: character error rate of the other "
            "languages, after Whisper's basic one (it drops combining marks, so vowels of Thai and Hindi do not count) "
            "and without spaces where the language writes none. Traditional for simplified characters are errors. Both "
            "normalisers come from the package `whisper-normalizer`.",
            "- A rate is all errors over all units of a group. An answer other than 200 counts as an empty text.",
            f"- Intervals: 95%, bootstrap over speakers, {RESAMPLES} resamples, seed {SEED}. A file whose speaker is "
            "not known counts as a speaker of its own. The interval of a difference draws the same speakers for both. "
            f"One speaker has no interval; that of fewer than {FEW} speakers is too narrow to lean on.",
            f"- Loop: {PIECE} characters of a text compress by more than {COMPRESSION_RATIO_THRESHOLD} (zlib), and "
            "those of the reference do not.",
            "- Missing: a sentence of the reference of which no word is in the text, or a stretch where the text is at "
            f"least {MISSING_WORDS} words ({MISSING_CHARACTERS} characters where no spaces are written) shorter.",
            "- Language: of the answers that name one, for recordings whose language the model knows.",
        ]
    )


def _signed(rate: Estimate) -> str:
    value = f"{100 * rate.value:+.1f}"
    return (
        value if rate.low is None or rate.high is None else f"{value} ({100 * rate.low:+.1f} to {100 * rate.high:+.1f})"
    )


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{count} x {what}" for what, count in counted.most_common())


def _yes(met: object) -> str:
    return "yes" if met else "**no**"
