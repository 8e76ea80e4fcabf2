"""The file that says what ``amanuensis serve`` serves: Ray Serve's own, with the service's settings as ``args``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import yaml

from deployments.commands.launch.addresses import url_host
from deployments.shared.errors import ConfigurationError
from deployments.shared.spelling import unknown

if TYPE_CHECKING:
    from deployments.shared.settings import Settings

FILE_NAME = "serve_config.yaml"
PACKAGE = Path(__file__).parents[1]
DEFAULT_NAME, DEFAULT_HOST, DEFAULT_PORT = "default", "127.0.0.1", 8000
"""Serve's own."""

KEYS: Final = (
    *("applications", "controller_options", "grpc_options", "http_options", "logging_config", "proxy_location"),
    *("target_capacity", "tracing_config"),
)
HTTP_KEYS: Final = (
    *("host", "port", "root_path", "request_timeout_s", "keep_alive_timeout_s"),
    *("ssl_keyfile", "ssl_certfile", "ssl_keyfile_password", "ssl_ca_certs"),
)
APPLICATION_KEYS: Final = (
    *("name", "route_prefix", "import_path", "runtime_env", "host", "port", "deployments", "args"),
    *("autoscaling_policy", "external_scaler_enabled", "logging_config"),
)
DEPLOYMENT_KEYS: Final = (
    *("name", "num_replicas", "max_ongoing_requests", "max_queued_requests", "user_config", "autoscaling_config"),
    *(
        "graceful_shutdown_wait_loop_s",
        "graceful_shutdown_timeout_s",
        "health_check_period_s",
        "health_check_timeout_s",
    ),
    *("ray_actor_options", "placement_group_bundles", "placement_group_strategy", "max_replicas_per_node"),
    *("placement_group_bundle_label_selector", "logging_config", "request_router_config", "backpressure_config"),
    *("deployment_actors", "gang_scheduling_config", "max_surge_percent", "rolling_update_percentage"),
)
"""What Ray Serve reads. It ignores all other keys; to ask it would mean to import Ray."""

NO_LIST: Final = "it has no list `applications`"

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
        ConfigurationError: the file cannot be read, or is no configuration of Ray Serve; a misspelt key is named.
    """
    path = (path or default_path()).absolute()
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        problems = list(_problems(document))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, AttributeError, TypeError, UnicodeDecodeError) as error:
        problems = [_reason(error)]
    if problems:
        raise ConfigurationError(f"{path} is no configuration of Ray Serve: {'; '.join(problems)}")
    http = document.get("http_options") or {}
    named = {each.get("name", DEFAULT_NAME): each for each in document["applications"]}
    return Configuration(
        path,
        http.get("host", DEFAULT_HOST),
        http.get("port", DEFAULT_PORT),
        arguments={name: each.get("args", {}) for name, each in named.items()},
        routes={name: each.get("route_prefix", "/") or "/" for name, each in named.items()},
    )


def _problems(document: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with a file, each key included that Ray Serve would ignore."""
    yield from _unknown(document, KEYS, "a key of the file")
    yield from _unknown(document.get("http_options") or {}, HTTP_KEYS, "a key of http_options")
    applications = document.get("applications")
    if not isinstance(applications, list):
        yield NO_LIST
        return
    if not applications:
        yield "it lists no application"
    for application in applications:
        yield from _problems_of(application)


def _problems_of(application: Mapping[str, Any]) -> Iterator[str]:
    yield from _unknown(application, APPLICATION_KEYS, "a key of an application")
    if not isinstance(application.get("args", {}), Mapping):
        name = application.get("name", DEFAULT_NAME)
        yield f"args of the application {name} must be settings, such as `slots: 8`; leave it out if there are none"
    for deployment in application.get("deployments") or ():
        yield from _unknown(deployment, DEPLOYMENT_KEYS, "a key of a deployment")


def _unknown(mapping: Mapping[str, Any], known: tuple[str, ...], what: str) -> Iterator[str]:
    return (unknown(str(key), what, known) for key in mapping if key not in known)


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
    return NO_LIST
