"""The file that says what ``amanuensis serve`` serves: Ray Serve's own, with the service's settings as ``args``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from deployments.shared.errors import ConfigurationError
from deployments.shared.settings import Settings

FILE_NAME = "serve_config.yaml"
PACKAGE = Path(__file__).parents[1]
DEFAULT_NAME, DEFAULT_HOST, DEFAULT_PORT = "default", "127.0.0.1", 8000
"""Serve's own."""

LOCAL_HOSTS = frozenset({"0.0.0.0", "127.0.0.1"})  # noqa: S104  (compared with, not bound)

CONFIG = click.argument("config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a configuration file says.

    Attributes:
        path: of the file, absolute.
        host, port: where HTTP is answered.
        arguments: of every application, by its name, in the order of the file.
    """

    path: Path
    host: str
    port: int
    arguments: Mapping[str, Mapping[str, Any]]

    @property
    def url(self) -> str:
        """The service as this machine reaches it."""
        return f"http://{'localhost' if self.host in LOCAL_HOSTS else self.host}:{self.port}"

    def settings(self) -> list[Settings]:
        """Return the settings of every application.

        Raises:
            ConfigurationError: an unknown name or a bad value.
        """
        return [Settings.resolve(dict(arguments)) for arguments in self.arguments.values()]


def read_configuration(path: Path | None) -> Configuration:
    """Read a configuration file; without one, the ``serve_config.yaml`` of this directory or that of the package.

    Raises:
        ConfigurationError: the file cannot be read, or is no configuration of Ray Serve.
    """
    path = (path or default_path()).absolute()
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        http = document.get("http_options") or {}
        applications = {each.get("name", DEFAULT_NAME): each.get("args") or {} for each in document["applications"]}
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is no configuration of Ray Serve: {_reason(error)}") from error
    if not applications:
        raise ConfigurationError(f"{path} is no configuration of Ray Serve: it lists no application")
    return Configuration(path, http.get("host", DEFAULT_HOST), http.get("port", DEFAULT_PORT), applications)


def default_path() -> Path:
    """Return the configuration in the current directory; without one, the one that comes with the package."""
    own = Path.cwd() / FILE_NAME
    return own if own.is_file() else packaged_path()


def packaged_path() -> Path:
    """Return the configuration that comes with the package."""
    # The wheel has it in the package, the source tree beside it.
    return next(path for place in (PACKAGE, PACKAGE.parent) if (path := place / FILE_NAME).is_file())


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.YAMLError | UnicodeDecodeError):
        return " ".join(str(error).split())
    return "it has no list `applications`"
