"""The file that says what ``amanuensis serve`` serves: Ray Serve's own, with the service's settings as ``args``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from deployments.commands.launch.addresses import url_host
from deployments.shared.errors import ConfigurationError

if TYPE_CHECKING:
    from deployments.shared.settings import Settings

FILE_NAME = "serve_config.yaml"
PACKAGE = Path(__file__).parents[1]
DEFAULT_NAME, DEFAULT_HOST, DEFAULT_PORT = "default", "127.0.0.1", 8000
"""Serve's own."""

CONFIG = click.argument("config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a configuration file says.

    Attributes:
        path: of the file, absolute.
        host, port: where HTTP is answered.
        arguments: of every application, by its name, in the order of the file.
        routes: of every application, by its name.
    """

    path: Path
    host: str
    port: int
    arguments: Mapping[str, Mapping[str, Any]]
    routes: Mapping[str, str]

    @property
    def url(self) -> str:
        """The service as this machine reaches it.

        Raises:
            ConfigurationError: its host is not known here.
        """
        return f"http://{url_host(self.host)}:{self.port}"

    @property
    def urls(self) -> dict[str, str]:
        """The base URL of every application, by its name, as this machine reaches it."""
        return {name: f"{self.url}{route.rstrip('/')}" for name, route in self.routes.items()}

    def settings(self) -> list[Settings]:
        """Return the settings of every application.

        Raises:
            ConfigurationError: an unknown name or a bad value.
        """
        from deployments.shared.settings import Settings  # noqa: PLC0415  (a taken port is told before it is imported)

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
        named = {each.get("name", DEFAULT_NAME): each for each in document["applications"]}
        arguments = {name: each.get("args") or {} for name, each in named.items()}
        routes = {name: each.get("route_prefix", "/") or "/" for name, each in named.items()}
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is no configuration of Ray Serve: {_reason(error)}") from error
    if not named:
        raise ConfigurationError(f"{path} is no configuration of Ray Serve: it lists no application")
    host, port = http.get("host", DEFAULT_HOST), http.get("port", DEFAULT_PORT)
    return Configuration(path, host, port, arguments, routes)


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
