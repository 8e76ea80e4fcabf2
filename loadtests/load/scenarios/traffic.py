"""What clients send: bodies made once, and the mixes that orders are drawn from."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from loadtests.common.samples import Sample, Upload, upload
from loadtests.common.speech import Speech

T = TypeVar("T")
Kind = Literal["plain", "stream", "hang up"]
Mix = Literal["short", "priorities", "mixed"]

SEED = 0
KINDS: Mapping[Kind, float] = {"plain": 0.7, "stream": 0.25, "hang up": 0.05}
SIZES = {"short": 0.85, "long": 0.14, "minutes": 0.01}
PRIORITIES = ("high", "normal", "normal", "low")


@dataclass(frozen=True)
class Order:
    """One request to be.

    Attributes:
        size: ``short`` (up to 10 s), ``long``, or ``minutes``.
    """

    clip: str
    size: str
    kind: Kind
    priority: str
    upload: Upload


def orders(mix: Mix, speech: Speech) -> Iterator[Order]:
    """Without end, and the same every time."""
    if mix == "mixed":
        return _mixed(speech.files)
    priorities = PRIORITIES if mix == "priorities" else ("normal",)
    plain = [(clip.name, upload(clip.wav, {})) for clip in speech.clips]
    # Both cycles have even lengths: without the offset a clip would always come with the same priority.
    return (
        Order(name, "short", "plain", priorities[(number + number // len(plain)) % len(priorities)], body)
        for number, (name, body) in enumerate(itertools.cycle(plain))
    )


def mean_audio_s(mix: Mix, speech: Speech) -> float:
    """Seconds of audio in a request, on average."""
    if mix != "mixed":
        return speech.mean_clip_s
    by_size = {size: [file.seconds for file in speech.files if file.size == size] for size in SIZES}
    return sum(share * sum(by_size[size]) / len(by_size[size]) for size, share in SIZES.items())


def _mixed(files: Sequence[Sample]) -> Iterator[Order]:
    rng = random.Random(SEED)  # noqa: S311  (no secret)
    bodies = {(file.name, stream): upload(file.content, {"stream": stream}) for file in files for stream in _FIELDS}
    while True:
        size, kind = _draw(rng, SIZES), _draw(rng, KINDS)
        file = rng.choice([file for file in files if file.size == size])
        body = bodies[file.name, "true" if kind == "stream" else "false"]
        yield Order(file.name, size, kind, rng.choice(PRIORITIES), body)


_FIELDS = ("true", "false")


def _draw(rng: random.Random, weights: Mapping[T, float]) -> T:
    return rng.choices(list(weights), list(weights.values()))[0]
