"""Damage to files: each mutation takes a file and a random generator, and returns another file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

MAX_BYTES = 400_000
MOST_MUTATIONS = 4  # of one file
HEADER = 600  # bytes at the start that decide how the rest is read
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63 - 1, 2**64 - 1)
NAMES = (
    *(b"moov", b"trak", b"stsd", b"stsz", b"stco", b"stsc", b"stts", b"esds", b"elst", b"mdhd", b"moof", b"trun"),
    *(b"fmt ", b"data", b"LIST", b"fLaC", b"OggS", b"OpusHead", b"\x01vorbis", b"Xing", b"Info", b"ID3", b"APIC"),
    *(b"\x16\x54\xae\x6b", b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b"),  # matroska: tracks, cluster, cues
)
"""Beside these stand lengths, counts and offsets."""

Mutation = Callable[[bytearray, Generator], None]


def mutate(files: Sequence[bytes], rng: Generator) -> bytes:
    """One of ``files``, damaged one to ``MOST_MUTATIONS`` times."""
    broken = bytearray(files[int(rng.integers(len(files)))])
    for _ in range(rng.integers(1, MOST_MUTATIONS + 1)):
        choice = rng.integers(len(MUTATIONS) + 1)
        if choice == len(MUTATIONS):
            _splice(broken, files[int(rng.integers(len(files)))], rng)
        elif broken:
            MUTATIONS[choice](broken, rng)
    return bytes(broken[:MAX_BYTES])


def _place(data: bytearray, rng: Generator) -> int:
    """Anywhere, but often in the header or near a field that matters."""
    match rng.integers(3):
        case 0:
            return int(rng.integers(min(len(data), HEADER)))
        case 1:
            found = data.find(NAMES[rng.integers(len(NAMES))], int(rng.integers(len(data))) // 2)
            return min(max(found + int(rng.integers(-8, 24)), 0), len(data) - 1)
        case _:
            return int(rng.integers(len(data)))


def _flip_bits(data: bytearray, rng: Generator) -> None:
    for _ in range(rng.integers(1, 20)):
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))


def _set_bytes(data: bytearray, rng: Generator) -> None:
    for _ in range(rng.integers(1, 8)):
        data[_place(data, rng)] = int(rng.integers(256))


def _set_number(data: bytearray, rng: Generator) -> None:
    """As a length or count would be stored: 1 to 8 bytes, either end first, at an edge of its range."""
    width = int(2 ** rng.integers(4))
    number = EDGES[rng.integers(len(EDGES))] + int(rng.integers(-1, 2))
    start = _place(data, rng)
    data[start : start + width] = (number % 256**width).to_bytes(width, "big" if rng.integers(2) else "little")


def _truncate(data: bytearray, rng: Generator) -> None:
    del data[_place(data, rng) :]


def _header_only(data: bytearray, rng: Generator) -> None:
    del data[int(rng.integers(1, HEADER)) :]


def _remove(data: bytearray, rng: Generator) -> None:
    start = _place(data, rng)
    del data[start : start + int(2 ** rng.integers(12))]


def _repeat(data: bytearray, rng: Generator) -> None:
    """A chunk again and again: many boxes, streams, packets or tags."""
    start = _place(data, rng)
    chunk = data[start : start + int(2 ** rng.integers(3, 12))]
    data[start:start] = chunk * int(2 ** rng.integers(1, 10))
    del data[MAX_BYTES:]


def _insert_noise(data: bytearray, rng: Generator) -> None:
    start, size = _place(data, rng), int(2 ** rng.integers(12))
    data[start:start] = rng.bytes(size) if rng.integers(2) else bytes(size)


def _move(data: bytearray, rng: Generator) -> None:
    """A chunk to another place."""
    start = _place(data, rng)
    chunk = data[start : start + int(2 ** rng.integers(3, 12))]
    del data[start : start + len(chunk)]
    at = int(rng.integers(len(data) + 1))
    data[at:at] = chunk


def _splice(data: bytearray, other: bytes, rng: Generator) -> None:
    """The end of another file, perhaps of another format, behind a part of this one."""
    cut = int(rng.integers(len(data) + 1))
    data[cut:] = np.frombuffer(other, np.uint8)[int(rng.integers(len(other))) :].tobytes()


MUTATIONS: tuple[Mutation, ...] = (
    _flip_bits,
    _set_bytes,
    _set_number,
    _set_number,  # twice as often: what a length says is what a parser trusts
    _truncate,
    _header_only,
    _remove,
    _repeat,
    _insert_noise,
    _move,
)
