"""The model cache: one folder per fetched model, filled in one step."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deployments.shared.errors import ConfigurationError
from deployments.shared.model.files import check_complete, check_sums
from deployments.shared.model.sources import Source

logger = logging.getLogger(__name__)


def model_cache() -> Path:
    """Return the directory that holds one folder per fetched model.

    Raises:
        ConfigurationError: the user has no home directory.
    """
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise ConfigurationError(
            "There is no home directory for the model cache; set XDG_CACHE_HOME to a directory that can be written"
        ) from error
    return cache.absolute() / "amanuensis" / "models"


def cached_path(source: Source) -> Path:
    """Return the folder of a model in the model cache, which need not exist."""
    return model_cache() / source.name


def checked(directory: Path, source: Source) -> Path:
    """Return ``directory`` if it holds the files of the model.

    Raises:
        ConfigurationError: the files are incomplete or wrong.
    """
    check_complete(directory, source)
    check_sums(directory, source.sums, f"delete {directory} and start again")
    return directory


def fill(source: Source, write: Callable[[Path], Mapping[str, str]]) -> Path:
    """Make the model's folder in the model cache; what is interrupted or wrong leaves nothing behind.

    One process at a time fills the cache: another one waits, then finds the files there.

    Args:
        source: the model.
        write: puts the files into the empty directory it is given; returns further SHA-256 sums they must have.

    Raises:
        ConfigurationError: the files are incomplete or wrong, or the cache cannot be written.
    """
    target = cached_path(source)
    partial = target.with_name(f".{target.name}.partial")
    with _only_one(target.parent):
        if target.is_dir():
            return checked(target, source)
        shutil.rmtree(partial, ignore_errors=True)  # a process that was killed cannot tidy up
        try:
            partial.mkdir()
            sums = {**write(partial), **source.sums}
            check_complete(partial, source)
            check_sums(partial, sums, "it was deleted: start again to fetch it again")
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


@contextmanager
def _only_one(cache: Path) -> Iterator[None]:
    """Hold the lock of the model cache, which is made if it is not there."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = cache.with_suffix(".lock").open("w")  # a file: network file systems lock no directories
    except OSError as error:
        raise cannot_be_written(error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("Another process is filling %s; waiting for it", cache)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cannot_be_written(error: OSError) -> ConfigurationError:
    """Say why the cache could not be filled, and what to do."""
    return ConfigurationError(
        f"The model cache {model_cache()} cannot be written ({error.strerror}); make room there, or set XDG_CACHE_HOME "
        "to a directory that can be written"
    )
