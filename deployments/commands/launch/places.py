"""The directories in which a service has directories of its own, and what is removed there when it was killed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from deployments.commands.configuration import Configuration
from deployments.commands.launch.runtime_directory import RUNNING_SERVICE, is_writable, runtime_base
from deployments.shared.errors import ConfigurationError
from deployments.shared.memory.directory import SHARED_MEMORY
from deployments.shared.owned_directory import remove_stale


def places_of(config: Configuration) -> list[Path]:
    """Return the directories in which a service has directories of its own.

    Raises:
        ConfigurationError: a setting is wrong, or there is a directory that cannot be written to.
    """
    shared_memory = {settings.shared_memory_dir for settings in config.settings()}
    for place in shared_memory:
        if not is_writable(place):
            raise ConfigurationError(
                f"shared_memory_dir {place} cannot be written to; set AMANUENSIS_SHARED_MEMORY_DIR to a directory that "
                "can, best on tmpfs"
            )
    return [*shared_memory, runtime_base()]


def tidy(places: Iterable[Path]) -> None:
    """Remove what services whose processes were killed left behind."""
    for place in places:
        for kind in (SHARED_MEMORY, RUNNING_SERVICE):
            remove_stale(place, kind)
