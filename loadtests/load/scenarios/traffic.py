"""What clients send: uploads made once, and the mixes that orders are drawn from."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from loadtests.common.audio_files import AudioFile
from loadtests.common.client import Upload, make_upload
from loadtests.common.speech import Speech

T = TypeVar("T")
Kind = Literal["plain", "stream", "hang up"]
Mix = Literal["short", "priorities", "mixed"]

SEED = 0
KINDS: Mapping[Kind, float] = {"plain": 0.7, "stream": 0.25, "hang up": 0.05}
SIZES = {"short": 0.85, "long": 0.14, "minutes": 0.01}
PRIORITIES = ("high", "normal", "normal", "low")
STREAM_VALUES = ("true", "false")


@dataclass(frozen=True)
class Order:
    """One request to be.

    Attributes:
        clip: name of the file.
        size: ``short`` (up to 10 s), ``long``, or ``minutes``.
    """

    clip: str
    size: str
    kind: Kind
    priority: str
    upload: Upload


def draw_orders(mix: Mix, speech: Speech) -> Iterator[Order]:
    """Draw orders without end, the same every time."""
    if mix == "mixed":
        return _mixed(speech.files)
    priorities = PRIORITIES if mix == "priorities" else ("normal",)
    uploads = [(clip.name, make_upload(clip.wav)) for clip in speech.clips]
    # Both cycles have even lengths: without the offset a clip would always come with the same priority.
    return (
        _order(name, "short", "plain", priorities[(number + number // len(uploads)) % len(priorities)], upload)
        for number, (name, upload) in enumerate(itertools.cycle(uploads))
    )


def mean_audio_s(mix: Mix, speech: Speech) -> float:
    """Return the mean seconds of audio in a request."""
    if mix != "mixed":
        return speech.mean_clip_s
    by_size = {size: [file.seconds for file in speech.files if file.size == size] for size in SIZES}
    return sum(share * sum(by_size[size]) / len(by_size[size]) for size, share in SIZES.items())


def _mixed(files: Sequence[AudioFile]) -> Iterator[Order]:
    rng = random.Random(SEED)  # noqa: S311  (no secret)
    uploads = {
        (file.name, value): make_upload(file.content, {"stream": value}) for file in files for value in STREAM_VALUES
    }
    while True:
        size, kind = _draw(rng, SIZES), _draw(rng, KINDS)
        file = rng.choice([file for file in files if file.size == size])
        upload = uploads[file.name, "true" if kind == "stream" else "false"]
        yield _order(file.name, size, kind, rng.choice(PRIORITIES), upload)


def _order(clip: str, size: str, kind: Kind, priority: str, upload: Upload) -> Order:
    return Order(clip, size, kind, priority, replace(upload, priority=priority))


def _draw(rng: random.Random, weights: Mapping[T, float]) -> T:
    return rng.choices(list(weights), list(weights.values()))[0]
