"""The subject of a load test, and the two options that name it: which model, and whose speech it is given."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from loadtests.common.paths import DEMO_MODEL
from loadtests.common.speech import CORPUS_VARIABLE, Speech, speech_for

TEST_MODEL = str(DEMO_MODEL)


@dataclass(frozen=True)
class Subject:
    """What is tested.

    Attributes:
        model: as the service is told it.
        corpus: the directory of human speech that clients send; None where there is none.
    """

    model: str = TEST_MODEL
    corpus: Path | None = None

    @cached_property
    def speech(self) -> Speech:
        """What clients send.

        Raises:
            FileNotFoundError: the corpus has no manifest.
            ValueError: the corpus has not enough English read speech.
        """
        return speech_for(synthetic_only=self.model == TEST_MODEL, corpus=self.corpus)

    @property
    def arguments(self) -> list[str]:
        """The options that give this subject."""
        corpus = [] if self.corpus is None else ["--speech", str(self.corpus)]
        return ["--model", self.model, *corpus]


def add_subject(parser: argparse.ArgumentParser) -> None:
    """Add ``--model`` and ``--speech``."""
    parser.add_argument(
        "--model",
        default=TEST_MODEL,
        help="of the service under test: a directory, or whatever else WHISPER_MODEL may be, such as base; without it "
        "the small test model, which understands synthetic voices only",
    )
    parser.add_argument(
        "--speech",
        type=Path,
        help="a directory of human speech with a manifest.tsv; without it the one that the environment variable "
        f"{CORPUS_VARIABLE} names, unless the model is the test model",
    )


def subject_of(options: argparse.Namespace) -> Subject:
    """Return what the options say, with absolute paths: the service is started in another directory."""
    path, named = Path(options.model).expanduser(), os.environ.get(CORPUS_VARIABLE)
    model = str(path.absolute()) if path.is_dir() else str(options.model)
    if options.speech is not None:
        return Subject(model, options.speech.absolute())
    return Subject(model, Path(named).absolute() if named and model != TEST_MODEL else None)
