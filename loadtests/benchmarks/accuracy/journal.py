"""What was answered, written down line by line, so that a run that was cut off goes on where it stopped."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtests.benchmarks.accuracy.contenders import Transcription


@dataclass(frozen=True)
class Turn:
    """One stretch of work of one contender.

    Attributes:
        seconds: how long it took.
        audio_s: seconds of audio in the recordings that it answered with 200.
        requests: how many those are.
    """

    seconds: float
    audio_s: float
    requests: int


@dataclass
class Journal:
    """The lines of one run.

    Attributes:
        subject: what is measured: another subject must not continue the file.
        answers: contender -> file -> answer.
        turns: contender -> the turns it finished.
    """

    path: Path
    subject: Mapping[str, str]
    answers: dict[str, dict[str, Transcription]] = field(default_factory=lambda: defaultdict(dict))
    turns: dict[str, list[Turn]] = field(default_factory=lambda: defaultdict(list))

    def resume(self) -> None:
        """Read what is there already, or begin the file.

        Raises:
            ValueError: the file tells of another model or corpus.
        """
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._write({"subject": self.subject})
            return
        # A run that was killed may have left half a line: what it told of is done again.
        text = self.path.read_text(encoding="utf-8")
        self.path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
        head, *lines = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        if head["subject"] != self.subject:
            raise ValueError(f"{self.path} holds a run of {head['subject']}. Name another --output for {self.subject}.")
        for line in lines:
            self._take(line)

    def answered(self, contender: str, file: str, answer: Transcription) -> None:
        """Note one answer."""
        self._note({"contender": contender, "file": file, "answer": asdict(answer)})

    def finished(self, contender: str, turn: Turn) -> None:
        """Note that a turn was finished without a break."""
        self._note({"contender": contender, "turn": asdict(turn)})

    def _note(self, line: dict[str, Any]) -> None:
        self._take(line)
        self._write(line)

    def _take(self, line: Mapping[str, Any]) -> None:
        if "turn" in line:
            self.turns[line["contender"]].append(Turn(**line["turn"]))
        else:
            self.answers[line["contender"]][line["file"]] = Transcription(**line["answer"])

    def _write(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
