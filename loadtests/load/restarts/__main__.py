"""Start and stop a service in every way, at random moments, under load.

``python -m loadtests.load.restarts [--rounds 30] [--seed N] [--model base --speech DIR]``: each round is one life of a
service. The report, ``results/restarts.md`` unless ``--output`` says otherwise, is the page ``docs/restarts.md``. Exit
status 1 if anything was left behind, a start was not green, or an accepted request was lost where the way allows an
answer. No other service may run on the machine.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtests.common.client import make_upload
from loadtests.load.restarts.round import Life, live
from loadtests.load.restarts.ways import WAYS, Way
from loadtests.load.subject import Subject, add_subject, subject_of

CLIENTS = 4
READY_MOMENT_S = (0.5, 6.0)
START_MOMENT_S = (0.1, 20.0)


def main() -> int:
    options = _options()
    subject = subject_of(options)
    rng = random.Random(options.seed)  # noqa: S311  (no secret)
    uploads = [make_upload(clip.wav) for clip in subject.speech.clips]
    lives = []
    for way in _plan(rng, options.rounds, options.only):
        moment_s = rng.uniform(*(START_MOMENT_S if way.starting else READY_MOMENT_S))
        life = live(way, subject.model, uploads, moment_s, CLIENTS)
        lives.append(life)
        sys.stderr.write(f"{len(lives)}: {_row(life)}\n")
        if life.left:
            sys.stderr.write(life.log)
    page = _page(lives, options, subject)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page, encoding="utf-8")
    sys.stdout.write(page)
    return 1 if any(life.left or life.lost for life in lives) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=30, help="lives of a service; each way has its turn")
    parser.add_argument("--seed", type=int, default=0, help="of the order of ways and of their moments")
    parser.add_argument("--only", help="the name of one way")
    parser.add_argument("--output", type=Path, default=Path("results/restarts.md"), help="the report")
    add_subject(parser)
    return parser.parse_args()


def _plan(rng: random.Random, rounds: int, only: str | None) -> list[Way]:
    """Return the ways of all rounds: each as often as the others, in any order."""
    chosen = [way for way in WAYS if only in {None, way.name}]
    plan = [chosen[number % len(chosen)] for number in range(rounds)]
    rng.shuffle(plan)
    return plan


def _page(lives: Sequence[Life], options: argparse.Namespace, subject: Subject) -> str:
    bad = sum(bool(life.left or life.lost) for life in lives)
    lines = [
        "# Starts and stops",
        "",
        f"`python -m loadtests.load.restarts --rounds {options.rounds} --seed {options.seed} --model {subject.model}`: "
        f"{CLIENTS} clients send requests while the service is ended.",
        "",
        f"**{len(lives)} lives, {bad} of them with something left behind, lost or not green.**",
        "",
        "| way | ready after s | gone after s | exit status | requests before | lost | left |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_row(life) for life in sorted(lives, key=lambda life: life.way)),
    ]
    return "\n".join(lines) + "\n"


def _row(life: Life) -> str:
    ready = "" if life.ready_s is None else f"{life.ready_s:.1f}"
    lost = "; ".join(life.lost) or "0"
    left = "; ".join(life.left) or "nothing"
    return f"| {life.way} | {ready} | {life.ended_s:.1f} | {life.status} | {life.requests} | {lost} | {left} |"


if __name__ == "__main__":
    sys.exit(main())
