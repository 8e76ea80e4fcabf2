"""Where a model's files come from: found on this machine or fetched, and checked before anything is served.

A name is looked for in this order:

1. a directory of that path; a size name such as ``base`` is never a path (write ``./base``);
2. the model cache: ``$XDG_CACHE_HOME/amanuensis/models/NAME``;
3. for ``base``, the two registry packages that ``make`` installs, joined into the model cache. They come before the
   hub: a machine that has them needs no network and never waits for one;
4. the cache of the model hub's own client, used where it lies;
5. the model hub, into the model cache.

Every route ends in the same check: against the SHA-256 sums that are pinned in ``sources``, or for completeness where
none are pinned; a download also against the sums that the hub states. Pinned sums are computed at every start (0.2 s
for ``base``): a note of an earlier check would be one more file to trust.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from deployments.shared.errors import ConfigurationError
from deployments.shared.model.cache import cached_path, checked
from deployments.shared.model.files import check_complete, what_to_place
from deployments.shared.model.hub import fetch, hub_snapshot
from deployments.shared.model.packages import installed_packages, unpack
from deployments.shared.model.sources import ALIASES, SIZES, Source

PROJECT_ROOT: Final = Path(__file__).resolve().parents[3]
HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")


def resolve(name: str, token: str | None = None) -> Path:
    """Return the directory of a model, fetched if it is not on this machine, and checked.

    Args:
        name: a directory, a size name, or a hub id.
        token: for gated hub repositories; None takes the hub client's own (``HF_TOKEN`` or its login).

    Raises:
        ConfigurationError: no such model, it cannot be fetched, or its files are incomplete or wrong; says what to do.
    """
    return find(name) or fetch(source_of(name), token)


def find(name: str) -> Path | None:
    """Return the directory of a model that needs no network, checked; None if it is not on this machine.

    Raises:
        ConfigurationError: no such directory or size, or files that are incomplete or wrong.
    """
    directory = _directory(name)
    if directory is not None:
        check_complete(directory)
        return directory
    source = source_of(name)
    cached = cached_path(source)
    if cached.is_dir():
        return checked(cached, source)
    packages = installed_packages(source)
    if packages:
        return unpack(packages, source)
    snapshot = hub_snapshot(source)
    return None if snapshot is None else checked(snapshot, source)


def is_directory(name: str) -> bool:
    """Return whether ``name`` is taken for a path."""
    return _directory(name) is not None


def source_of(name: str) -> Source:
    """Return where the model of a size name or hub id is published.

    Raises:
        ConfigurationError: ``name`` is neither.
    """
    size = SIZES.get(ALIASES.get(name, name))
    if size is not None:
        return size
    if not HUB_ID.fullmatch(name):
        raise ConfigurationError(
            f"WHISPER_MODEL={name} is no such directory, no hub id (owner/name) and no known size "
            f"({', '.join(sorted([*SIZES, *ALIASES]))}); {what_to_place(None, 'a directory')} "
            "and set WHISPER_MODEL to its path"
        )
    known = (source for source in SIZES.values() if source.repository == name)
    return next(known, Source(name.replace("/", "--"), name))


def _directory(name: str) -> Path | None:
    """Return the directory that ``name`` is a path of, as seen from here or from the project."""
    if name in SIZES or name in ALIASES:
        return None
    paths = [base / Path(name).expanduser() for base in (Path.cwd(), PROJECT_ROOT)]
    return next((path for path in paths if path.is_dir()), None)
