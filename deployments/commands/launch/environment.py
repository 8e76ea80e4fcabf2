"""What Ray and Serve read from the environment where they start, so that it cannot be part of the configuration file.

The user's own values win.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deployments.commands.configuration import Configuration
from deployments.commands.launch.addresses import is_loopback
from deployments.commands.launch.ports import DASHBOARD_VARIABLE
from deployments.haproxy.start import HOST_VARIABLE
from deployments.shared.errors import ConfigurationError
from deployments.shared.lean_imports import HOOK, HOOK_VARIABLE

FAST_PATHS: Final = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # The controller looks after every replica at every turn: ten turns a second, as by default, are 2% of two cores.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25",
    # By default Ray's workers are all equally nice. The stages are nicer than the ingress: `cpu_priority.py`.
    "RAY_worker_niceness": "0",
}

SELF_HEALING: Final = {
    # HAProxy is given up after three failed checks. Every 10 s, as by default, its death would last half a minute.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    # Where all processes start at once on few cores, the default of 5 s kills a proxy that is only slow to start.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
    # A replica that hangs never finishes its calls, so waiting for them would only keep its slots.
    "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
    # A HAProxy that another one has replaced answers its last requests. After 120 s, as by default, they are cut off.
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "7200",
    "RAY_SERVE_PORT_QUARANTINE_S": "150",
}

LEAN_START: Final = {HOOK_VARIABLE: HOOK}
"""Only where this command starts Ray: a worker that cannot import this package would not start."""

AUTHENTICATION: Final = "RAY_AUTH_MODE"
TOKEN: Final = "token"  # noqa: S105  (the name of a mode)

HAPROXY: Final = "amanuensis-haproxy"
"""The program of this package that Serve starts as HAProxy: `deployments/haproxy/start.py`."""


def set_environment(config: Configuration, ports: Mapping[str, int], directory: Path) -> None:
    """Set what Ray and Serve read when they are imported and started: what ``service_environment`` returns.

    Raises:
        ConfigurationError: other machines are let in, and Ray is told to do what anybody there asks for.
    """
    if os.environ.get(AUTHENTICATION, TOKEN) != TOKEN and not is_loopback(config.host):
        raise ConfigurationError(
            f"RAY_AUTH_MODE must be token where http_options.host is {config.host}: whoever reaches Ray's ports "
            "without a token can run code"
        )
    for variable, value in service_environment(config.host, ports, directory).items():
        os.environ.setdefault(variable, value)


def service_environment(host: str, ports: Mapping[str, int], directory: Path) -> dict[str, str]:
    """Return what Ray and Serve shall read when they are imported and started.

    Args:
        host: where HTTP is answered.
        ports: by the variables that name them.
        directory: the service's own, for HAProxy's files and sockets.
    """
    inner = {variable: str(port) for variable, port in ports.items() if variable != DASHBOARD_VARIABLE}
    return {
        **FAST_PATHS,
        **SELF_HEALING,
        **LEAN_START,
        **_haproxy(directory),
        **inner,
        AUTHENTICATION: TOKEN,
        HOST_VARIABLE: host,
    }


def _haproxy(directory: Path) -> dict[str, str]:
    """Return what makes Serve start HAProxy by way of this package, with its files where no other user can get at them.

    The names of sockets are short: a path has 107 bytes at most, and Serve adds the 56 of a node's name.
    """
    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": command(HAPROXY),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(directory / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(directory / "a"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(directory),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(directory / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(directory / "m"),
    }


def command(name: str) -> str:
    """Return the path of a program of the environment that runs this one."""
    return str(Path(sys.executable).with_name(name))
