"""API keys: a text file with the SHA-256 of every client's key, read again when it changes.

One client a line, ``name sha256-hex [operator]``; blank lines and lines that begin with ``#`` are skipped. Slow, salted
hashes protect passwords, which can be guessed. A key is a random token of 256 bits, which cannot, so its plain SHA-256
tells nothing, and checking it at every request costs microseconds.

What a line says never reaches a message: an operator may have put a key where its hash belongs.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from deployments.shared.errors import ConfigurationError

ANONYMOUS = "anonymous"
"""The client that all requests without a key belong to."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LINE = re.compile(rf"(?P<name>{NAME.pattern})\s+(?P<digest>[0-9a-fA-F]{{64}})(?P<operator>\s+operator)?")
FORBIDDEN_MODE = stat.S_IRWXO | stat.S_IWGRP
"""Others may do nothing with the file and its group may not change it: whoever can write it can call."""

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody who may call the service; an operator may also see how it is doing."""

    name: str
    operator: bool


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One line of the file: a client and the SHA-256 of its key, 32 bytes."""

    client: Client
    digest: bytes = field(repr=False)


class KeyFile:
    """Who a key belongs to, as the file says now. A version of the file that is broken leaves the keys as they were.

    Raises:
        ConfigurationError: as ``read_keys``, when it is made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = _version(path)
        self._entries = read_keys(path)

    def client_of(self, key: str) -> Client | None:
        """Return the client whose key this is; None if it is nobody's."""
        self._follow()
        digest = digest_of(key)
        found = None
        for entry in self._entries:  # all of them, so that the time taken does not depend on the key
            if hmac.compare_digest(entry.digest, digest):
                found = entry.client
        return found

    def _follow(self) -> None:
        version = _version(self._path)
        if version == self._version:
            return
        self._version = version
        try:
            self._entries = read_keys(self._path)
        except ConfigurationError as error:
            logger.error("the API keys stay as they were: %s", error)  # noqa: TRY400  (the message is all there is)
        else:
            logger.info("the API keys were read again: %d clients", len(self._entries))


def digest_of(key: str) -> bytes:
    """SHA-256 of a key, 32 bytes."""
    return hashlib.sha256(key.encode()).digest()


def read_keys(path: Path) -> tuple[KeyEntry, ...]:
    """Return the entries of the file.

    Raises:
        ConfigurationError: it cannot be read, is open to others, or has a bad line, which the message numbers.
    """
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read()
    except OSError as error:
        raise ConfigurationError(f"The key file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"The key file {path} is not UTF-8 text") from None
    if mode & FORBIDDEN_MODE:
        raise ConfigurationError(f"The key file {path} is open to others; close it: chmod 600 {path}")
    try:
        return parse_keys(text)
    except ValueError as error:
        raise ConfigurationError(f"The key file {path}, {error}") from None


def parse_keys(text: str) -> tuple[KeyEntry, ...]:
    """Return the entries of a key file's text.

    Raises:
        ValueError: a bad line, by its number and what is wrong with it.
    """
    entries: list[KeyEntry] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number}: expected `name sha256-hex [operator]`")
        entry = KeyEntry(Client(match["name"], match["operator"] is not None), bytes.fromhex(match["digest"]))
        if entry.client.name == ANONYMOUS:
            raise ValueError(f"line {number}: {ANONYMOUS} is the name of clients without a key; take another")
        if any(entry.client.name == known.client.name for known in entries):
            raise ValueError(f"line {number}: an earlier line has this name")
        if any(entry.digest == known.digest for known in entries):
            raise ValueError(f"line {number}: an earlier line has this key")
        entries.append(entry)
    return tuple(entries)


def _version(path: Path) -> tuple[int, ...] | None:
    """Return what changes with the content, mode and owner, so that ``chmod`` mends a file that was refused."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns
