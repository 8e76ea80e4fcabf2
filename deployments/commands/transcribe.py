"""Transcribe files with a running service.

The text of talk.mp3 goes to talk.txt beside it, or to the formats and the directory that are asked for. Every FILE is
sent as it is; the service knows all the usual audio and video formats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TypeVar

import click

from deployments.commands.client.background import start_all
from deployments.commands.client.events import Transcription, read_transcription
from deployments.commands.client.options import KEY, URL
from deployments.commands.client.outputs import FORMATS, Outputs
from deployments.commands.client.patience import ask_patiently
from deployments.commands.client.progress import FileProgress, say
from deployments.commands.client.service import Service
from deployments.commands.client.upload import FormWithFile
from deployments.commands.errors import CommandError
from deployments.shared.headers import PRIORITY_HEADER

TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
MODELS = "/v1/models"
STDOUT = "-"
JOBS = 2
"""One file is sent and decoded while another one is transcribed. More would only take the slots of other clients."""


Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the service, for every file alike.

    Attributes:
        translate: into English.
        language: ISO code or English name; None: detected.
        prompt: what the model should believe came before.
        words: ask for the times of words too.
        speakers: tell speakers apart.
        priority: ``high``, ``normal`` or ``low``.
    """

    translate: bool
    language: str | None
    prompt: str | None
    words: bool
    speakers: bool
    priority: str

    @property
    def path(self) -> str:
        """The service's route."""
        return TRANSLATIONS if self.translate else TRANSCRIPTIONS

    def fields(self) -> Iterator[tuple[str, str]]:
        """Yield the fields of the form beside the file."""
        yield "stream", "true"
        yield "response_format", "verbose_json"
        yield "timestamp_granularities[]", "segment"
        if self.words:
            yield "timestamp_granularities[]", "word"
        if self.speakers:
            yield "diarize", "true"
        if self.language:
            yield "language", self.language
        if self.prompt:
            yield "prompt", self.prompt


@click.command(help=__doc__)
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
)
@URL
@KEY
@click.option(
    "--format",
    "formats",
    type=click.Choice(list(FORMATS)),
    multiple=True,
    default=["txt"],
    show_default=True,
    help="What to write; may be given several times. json is OpenAI's verbose_json.",
)
@click.option("--language", help="ISO code or English name of the language.  [default: detected]")
@click.option("--translate", is_flag=True, help="Translate into English.")
@click.option("--prompt", help="Text that the model should believe came before; names are spelled as in it.")
@click.option("--words", is_flag=True, help="Write the times of words too; needs --format json.")
@click.option("--speakers", is_flag=True, help="Tell speakers apart, and write A, B, ... before what each says.")
@click.option(
    "--priority",
    type=click.Choice(["high", "normal", "low"]),
    default="normal",
    show_default=True,
    help="Who gets the service's next free slot.",
)
@click.option(
    "-o",
    "--output-dir",
    "directory",
    type=click.Path(file_okay=False, allow_dash=True, path_type=Path),
    help="Directory of the texts, made if it is not there; - writes to stdout.  [default: beside each file]",
)
@click.option("--overwrite", is_flag=True, help="Replace texts that are there already.")
@click.option(
    "--jobs", type=click.IntRange(min=1), default=JOBS, show_default=True, help="Files that are worked on at once."
)
def command(  # noqa: PLR0913  (click gives one argument per option)
    *,
    files: Sequence[Path],
    url: str,
    key: str | None,
    formats: tuple[str, ...],
    language: str | None,
    translate: bool,
    prompt: str | None,
    words: bool,
    speakers: bool,
    priority: str,
    directory: Path | None,
    overwrite: bool,
    jobs: int,
) -> None:
    """Check what the command line asks for, and do it."""
    files, formats = tuple(dict.fromkeys(files)), tuple(dict.fromkeys(formats))
    if words and "json" not in formats:
        raise click.UsageError("--words writes the times of words to a json file; add --format json")
    service = Service(url, key)
    question = Question(translate, language, prompt, words, speakers, priority)
    if str(directory) == STDOUT:
        if len(formats) > 1:
            raise click.UsageError("Only one --format can be written to stdout")
        print_texts(service, question, files, formats[0], jobs)
        return
    outputs = Outputs(formats, directory, overwrite)
    outputs.check_paths(files)
    write_texts(service, question, files, outputs, jobs)


def write_texts(service: Service, question: Question, files: Sequence[Path], outputs: Outputs, jobs: int) -> None:
    """Transcribe all files and write their texts, each as soon as it is there.

    Raises:
        CommandError: at least one file failed; the texts of the others are written.
    """

    def work(audio: Path) -> None:
        outputs.check_free(audio)
        began = monotonic()
        transcription = transcribe_file(service, question, audio)
        paths = ", ".join(str(path) for path in outputs.write(audio, transcription))
        summary = transcription.summary
        say(f"{audio}: {summary.duration_s:.1f} s, {summary.language}, in {monotonic() - began:.1f} s: {paths}")

    outputs.make_directory()
    _check_service(service)
    for _ in _results(files, start_all(work, files, jobs)):
        pass


def print_texts(service: Service, question: Question, files: Sequence[Path], suffix: str, jobs: int) -> None:
    """Transcribe all files and write their texts to stdout, in the order of the files.

    Raises:
        CommandError: at least one file failed; the texts of the others are written.
    """
    _check_service(service)
    futures = start_all(lambda audio: transcribe_file(service, question, audio), files, jobs)
    for transcription in _results(files, futures):
        click.echo(FORMATS[suffix](transcription), nl=False)


def transcribe_file(service: Service, question: Question, audio: Path) -> Transcription:
    """Send one file and return what the service made of it, showing on the terminal how far it is.

    Raises:
        CommandError: the file cannot be read.
        ServiceError: the service did not answer, refused the file again and again, or failed.
    """

    def ask() -> Transcription:
        form = FormWithFile(audio, list(question.fields()), progress.sent)
        headers = {"content-type": form.content_type, PRIORITY_HEADER: question.priority}
        with service.send("POST", question.path, headers=headers, data=form) as answer:
            return read_transcription(service.lines(answer), progress.heard)

    with closing(FileProgress(audio)) as progress:
        return ask_patiently(ask, progress.refused)


def _check_service(service: Service) -> None:
    """Refuse to begin where there is no service, or where it knows no such key: told once, not once per file."""
    ask_patiently(lambda: service.read("GET", MODELS), say)


def _results(files: Sequence[Path], futures: Sequence[Future[Result]]) -> Iterator[Result]:
    """Yield the results that there are, in the order of the files, and tell of the others.

    Raises:
        CommandError: at least one file failed.
    """
    failed = 0
    for audio, future in zip(files, futures, strict=True):
        try:
            yield future.result()
        except CommandError as error:
            failed += 1
            say(f"{audio}: {error}")
    if failed:
        raise CommandError(f"{failed} of {len(files)} {'files' if len(files) > 1 else 'file'} could not be transcribed")
