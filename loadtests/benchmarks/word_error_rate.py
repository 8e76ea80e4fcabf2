"""Word error rates over the model card's own test set, through a running service.

The test set is made by the model's recipe (its README names the packages of voices and sentences):

    cd tests/models/demo-en/recipe && python synthesize.py --out DATA --shards 0
    python -m loadtests.benchmarks.word_error_rate DATA http://localhost:9000
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
import jiwer

from loadtests.benchmarks.text import words
from loadtests.common.closed_loop import post

CLIENTS = 16


@dataclass(frozen=True)
class Spoken:
    """One clip of the test set: its file, its synthesiser and voice, its words."""

    path: Path
    family: str
    text: str


def read_test_set(data: Path) -> list[Spoken]:
    """Every clip that ``test.tsv`` lists."""
    with (data / "test.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [Spoken(data / row[0], row[1], row[5]) for row in rows]


async def transcribe(base_url: str, clips: list[Spoken]) -> list[str]:
    """The service's text of each clip, 16 at a time."""
    places = asyncio.Semaphore(CLIENTS)
    async with aiohttp.ClientSession() as session:

        async def one(clip: Spoken) -> str:
            async with places:
                return await post(session, base_url, clip.path.read_bytes())

        return await asyncio.gather(*map(one, clips))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="directory that synthesize.py wrote")
    parser.add_argument("url", help="of the service")
    options = parser.parse_args()
    clips = read_test_set(options.data)
    texts = asyncio.run(transcribe(options.url, clips))
    by_family: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for clip, text in zip(clips, texts, strict=True):
        for family in (clip.family, "all"):
            by_family[family].append((words(clip.text), words(text)))
    for family, pairs in by_family.items():
        wer = jiwer.wer([spoken for spoken, _ in pairs], [text for _, text in pairs])
        sys.stdout.write(f"| {family} | {len(pairs)} | {100 * wer:.1f} |\n")


if __name__ == "__main__":
    main()
