"""Measure word error rates over the test set of the demo model, through a running service.

``amanuensis bench word-errors DATA URL``. The test set is made by the model's recipe (its README names the packages of
voices and sentences):

    cd tests/models/demo-en/recipe && python synthesize.py --out DATA --shards 0
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from loadtests.benchmarks.parts.words import word_error_rate
from loadtests.common.client import make_upload, transcribe

CLIENTS = 16


@dataclass(frozen=True)
class Spoken:
    """One clip of the test set: its file, its synthesiser and voice, its words."""

    path: Path
    family: str
    text: str


def read_test_set(data: Path) -> list[Spoken]:
    """Return every clip that ``test.tsv`` lists."""
    with (data / "test.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [Spoken(data / row[0], row[1], row[5]) for row in rows]


async def transcribe_all(base_url: str, clips: list[Spoken]) -> list[str]:
    """Return the service's text of each clip, 16 at a time.

    Raises:
        UnansweredError: the service gave no text for one of them.
    """
    places = asyncio.Semaphore(CLIENTS)
    async with aiohttp.ClientSession() as session:

        async def one(clip: Spoken) -> str:
            async with places:
                return await transcribe(session, base_url, make_upload(clip.path.read_bytes()))

        return await asyncio.gather(*map(one, clips))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="directory that synthesize.py wrote")
    parser.add_argument("url", help="of the service")
    options = parser.parse_args()
    clips = read_test_set(options.data)
    texts = asyncio.run(transcribe_all(options.url, clips))
    by_family: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for clip, text in zip(clips, texts, strict=True):
        for family in (clip.family, "all"):
            by_family[family].append((clip.text, text))
    for family, pairs in by_family.items():
        sys.stdout.write(f"| {family} | {len(pairs)} | {100 * word_error_rate(pairs):.1f} |\n")


if __name__ == "__main__":
    main()
