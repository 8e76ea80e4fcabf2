"""Models from the model hub: those that its own client has in its cache, and downloads.

The hub's client takes half a second to import, so it is imported where it is needed.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from deployments.shared.errors import ConfigurationError
from deployments.shared.model.cache import cached_path, fill
from deployments.shared.model.files import is_wanted, missing_files, what_to_place
from deployments.shared.model.sources import Source

HUB_TIMEOUT_S: Final = 10.0
BAR_UPDATE_S: Final = 0.2


def hub_snapshot(source: Source) -> Path | None:
    """Return the model in the cache of the hub's own client, if all of it is there."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        path = Path(snapshot_download(source.repository, revision=source.revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return None if missing_files(path, source) else path


def fetch(source: Source, token: str | None) -> Path:
    """Return the model's folder in the model cache, filled from the hub.

    Args:
        source: the model.
        token: for gated repositories; None takes the hub client's own.

    Raises:
        ConfigurationError: the model cannot be fetched, or its files are incomplete or wrong.
    """
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    try:
        return fill(source, lambda target: _download(source, token, target))
    except (OSError, HfHubHTTPError, ValueError, RuntimeError) as error:
        packages = f", the packages {' and '.join(source.packages)} are not installed" if source.packages else ""
        raise ConfigurationError(
            f"WHISPER_MODEL={source.name}: the model is not in {cached_path(source)}{packages}, and "
            f"{source.repository} could not be fetched from the model hub ({_reason(error)}); "
            f"{what_to_place(source, cached_path(source))} and start again"
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _download(source: Source, token: str | None, target: Path) -> Mapping[str, str]:
    """Download the files that a model needs; return the SHA-256 sums that the hub states for the large ones."""
    from huggingface_hub import HfApi, hf_hub_download  # noqa: PLC0415

    about = HfApi(token=token).model_info(
        source.repository, revision=source.revision, files_metadata=True, timeout=HUB_TIMEOUT_S
    )
    files = [file for file in about.siblings or () if is_wanted(file.rfilename, source)]
    total = sum(file.size or 0 for file in files)
    sys.stderr.write(f"Fetching {source.repository} ({total / 1e6:.0f} MB) into {cached_path(source)}\n")
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
