"""Measure who speaks when, and who says which word, over a corpus of recordings.

``amanuensis bench diarization DIR --constructed 12 --meeting --senko-python PYTHON``: every recording in DIR that has
an RTTM file beside it, and dialogues and an hour of six readers, joined from ``DIR/librispeech``. The service's own
listener hears them in a process of its own, and so do its peers; then a service is started, or the one of ``--url`` is
asked, who says which word. Words are compared where there is an STM file beside the recording.

senko and what it needs go into an environment of their own:

    python3.11 -m venv SENKO && SENKO/bin/pip install senko==0.2.2
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from deployments.shared.model.finding import resolve
from loadtests.benchmarks.accuracy.corpus import find_corpus
from loadtests.benchmarks.diarization.contenders import contenders, run
from loadtests.benchmarks.diarization.page import write_page
from loadtests.benchmarks.diarization.recordings import Recording, write_recordings
from loadtests.benchmarks.diarization.results import Results, read_results, write_results
from loadtests.benchmarks.diarization.service import ask_for_words, diarizer_peak_mib
from loadtests.benchmarks.parts.command_line import shown_command
from loadtests.benchmarks.parts.output import say
from loadtests.common.client import UnansweredError
from loadtests.common.machine import machine_facts
from loadtests.common.service_process import Application, started
from loadtests.common.speech import CORPUS_VARIABLE

PAGE = Path("docs/diarization.md")
HOUR_BYTES = 256 * 2**20
"""What the service lets in: an hour of 16 kHz WAV, and some to spare."""

SENKO_PYTHON = "SENKO/bin/python"
"""How pages name the Python that has senko."""


def main() -> None:
    options = _options()
    if options.page:
        write_page(read_results(options.page), options.page_output)
        return
    directory = find_corpus(options.directory)
    with TemporaryDirectory() as workplace:
        try:
            files = write_recordings(directory, options.constructed, Path(workplace), meeting=options.meeting)
            results = _listen(options, directory, files)
            _finish(results, options.output)
            if not options.library_only:
                _finish(_with_words(results, options.url, options.model, files), options.output)
        except (ValueError, RuntimeError, UnansweredError) as error:
            raise SystemExit(str(error)) from error
    sys.stdout.write((options.output / PAGE.name).read_text(encoding="utf-8"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, prog="amanuensis bench diarization", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, nargs="?", help=f"the corpus; else {CORPUS_VARIABLE} names it")
    parser.add_argument("--constructed", type=int, default=0, help="so many constructed dialogues besides")
    parser.add_argument("--meeting", action="store_true", help="also an hour of six readers")
    parser.add_argument("--senko-python", metavar="PYTHON", help="also run senko, which this Python has installed")
    parser.add_argument("--pyannote", metavar="MODEL", help="also run this pipeline, as diarization_model names it")
    parser.add_argument("--library-only", action="store_true", help="do not ask a service for words")
    parser.add_argument("--model", default="base", help="what the service loads")
    parser.add_argument("--url", help="a service that runs already, with that model; else one is started")
    parser.add_argument("--output", type=Path, default=Path("results/diarization"), help="directory of the results")
    parser.add_argument("--page", type=Path, metavar="RESULTS", help="only write the page anew from this JSON")
    parser.add_argument(
        "--page-output", type=Path, default=PAGE, help="where --page writes; the picture goes beside it"
    )
    return parser.parse_args()


def _listen(options: argparse.Namespace, directory: Path, files: Mapping[str, Recording]) -> Results:
    chosen = contenders(options.senko_python, options.pyannote)
    runs = {}
    for contender in chosen:
        say(f"{contender.name}: {len(files)} recordings")
        runs[contender.name] = run(contender, files)
    return Results(
        command=shown_command(
            "amanuensis bench diarization", {str(directory): f"${CORPUS_VARIABLE}", options.senko_python: SENKO_PYTHON}
        ),
        corpus=directory.name,
        machine=machine_facts(),
        setups={contender.name: contender.setup for contender in chosen},
        recordings=tuple(files.values()),
        runs=runs,
    )


def _with_words(results: Results, url: str | None, model: str, files: Mapping[str, Recording]) -> Results:
    if url:
        return replace(results, model=model, answers=ask_for_words(url, files))
    application = Application("diarization", "/", {"max_upload_bytes": HOUR_BYTES}, model=str(resolve(model)))
    with started([application]) as service:
        answers = ask_for_words(service.url, files)
        return replace(results, model=model, answers=answers, diarizer_mib=diarizer_peak_mib(service.process))


def _finish(results: Results, output: Path) -> None:
    write_results(results, output / "results.json")
    write_page(results, output / PAGE.name)


if __name__ == "__main__":
    main()
