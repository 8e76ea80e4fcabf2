"""Run the service on this machine.

Fetches the model if it is not here, starts Ray with the encoder's resource and Serve's fast paths, hands the
configuration to "serve run", says when the service is ready, and on Ctrl-C or SIGTERM drains it before it leaves.
Without CONFIG it takes serve_config.yaml in this directory, or else the one that comes with the package: OpenAI's
Whisper base on http://localhost:9000.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import psutil
import requests

from deployments.commands.configuration import CONFIG, Configuration, read_configuration
from deployments.commands.errors import CommandError
from deployments.shared.lean_imports import HOOK, HOOK_VARIABLE
from deployments.shared.model.description import load_model
from deployments.shared.resources import ENCODER_RESOURCE

FAST_PATHS = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # The controller looks after every replica at every turn: ten turns a second, as by default, are 2% of two cores.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25",
    # By default Ray's workers are all equally nice. The stages are nicer than the ingress: `cpu_priority.py`.
    "RAY_worker_niceness": "0",
}
"""Ray reads these where it starts, so they cannot be part of the configuration file. The user's own values win."""

SELF_HEALING = {
    # HAProxy is given up after three failed checks. Every 10 s, as by default, its death would last half a minute.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    # Where all processes start at once on few cores, the default of 5 s kills a proxy that is only slow to start.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
    # A replica that hangs never finishes its calls, so waiting for them would only keep its slots.
    "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
}

LEAN_START = {HOOK_VARIABLE: HOOK}
"""Only where this command starts Ray: a worker that cannot import this package would not start."""

READY_TIMEOUT_S = 180.0
POLL_S = 0.25
STATUS_PERIOD_S = 2.0
"""Seconds between two questions to Serve's controller, which starts everything: each costs it 40 ms of CPU."""

LEAVE_S = 5.0
FAILED = "DEPLOY_FAILED"
UNAUTHORIZED = 401
SAMPLE = Path("tests/audio/human/jfk.flac")
"""A recording to try, where the service is started in the source tree."""

BEARER = " -H 'Authorization: Bearer KEY'"


@click.command(help=__doc__)
@CONFIG
def command(config: Path | None) -> None:
    """Serve what the configuration names."""
    serve_until_stopped(read_configuration(config))


def serve_until_stopped(config: Configuration) -> None:
    """Serve until a signal comes.

    Raises:
        ConfigurationError: a setting is wrong, or a model cannot be had.
        CommandError: the service did not start.
    """
    devices = _devices(config)
    _fetch_models(config)
    stop = _stop_signals()
    for variable, value in {**FAST_PATHS, **SELF_HEALING, **LEAN_START}.items():
        os.environ.setdefault(variable, value)

    import ray  # noqa: PLC0415  (reads the environment when imported)

    ready: Sequence[str] = ()
    click.echo(f"starting Ray for {config.path}")
    context = ray.init(resources={ENCODER_RESOURCE: float(devices)})
    try:
        _deploy(config.path, context.address_info["gcs_address"], stop)
        _wait_until_ready(config.url, next(iter(config.arguments)), stop)
        if not stop.is_set():
            ready = tuple(config.arguments)
            click.echo(_welcome(config.url, context.dashboard_url))
        stop.wait()
    finally:
        started = psutil.Process().children(recursive=True)
        asyncio.run(_leave(ready))
        ray.shutdown()
        _end(started)
        click.echo("stopped")


def _devices(config: Configuration) -> int:
    """Return how many devices the encoders of all applications are pinned to."""
    return sum(settings.encoder_replicas for settings in config.settings())


def _fetch_models(config: Configuration) -> None:
    """Find or fetch every application's model, with a progress bar, before anything else runs or has to be ready.

    ``build()`` finds it again, in the model cache, and gives its path to the replicas.
    """
    for settings in config.settings():
        load_model(settings)


def _deploy(config_path: Path, address: str, stop: threading.Event) -> None:
    """Hand the configuration to Ray Serve.

    Raises:
        CommandError: Serve failed, and no signal was the reason.
    """
    command = [_command("serve"), "run", str(config_path), "--address", address, "--non-blocking"]
    failed = subprocess.run(command, check=False).returncode  # noqa: S603  (our own command)
    if failed and not stop.is_set():
        raise CommandError(f"Ray Serve did not take {config_path}; the log above says why")


def _stop_signals() -> threading.Event:
    """Return what the first SIGINT or SIGTERM sets; the second one has its usual effect."""
    stop = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return stop


async def _leave(applications: Sequence[str]) -> None:
    """Drain the applications, then end Serve."""
    from ray import serve  # noqa: PLC0415

    # In one event loop, which Serve's fast paths bind a handle to.
    try:
        await _drain(applications)
    finally:
        await serve.shutdown_async()


async def _drain(applications: Sequence[str]) -> None:
    from ray import serve  # noqa: PLC0415

    if applications:
        click.echo("draining: requests that were accepted are answered first (Ctrl-C again ends at once)")
    draining = [serve.get_app_handle(name).drain.remote() for name in applications]
    for name, drained in zip(applications, draining, strict=True):
        if not await drained:
            click.echo(f"{name}: some requests took longer than drain_timeout_s; they are cut off")


def _end(processes: list[psutil.Process]) -> None:
    """Wait for processes that were told to end; Ray's own ones sometimes do not."""
    _, left = psutil.wait_procs(processes, LEAVE_S)
    for process in left:
        process.kill()
    psutil.wait_procs(left, LEAVE_S)


def _command(name: str) -> str:
    """Return a command of the environment that runs this."""
    return str(Path(sys.executable).with_name(name))


def _wait_until_ready(url: str, name: str, stop: threading.Event) -> None:
    """Return once the service is ready, or a signal came.

    Raises:
        CommandError: it cannot start, or takes too long.
    """
    from ray import serve  # noqa: PLC0415

    began = asked = time.monotonic()
    while not stop.is_set() and not _is_ready(url):
        now = time.monotonic()
        if now - asked > STATUS_PERIOD_S:
            asked, application = now, serve.status().applications.get(name)
            if application is not None and application.status == FAILED:
                raise CommandError(f"The service could not start:\n{application.message}")
        if now - began > READY_TIMEOUT_S:
            raise CommandError(f"The service was not ready after {READY_TIMEOUT_S:g} s; see the log above")
        time.sleep(POLL_S)


def _is_ready(url: str) -> bool:
    try:
        answer = requests.get(f"{url}/health/ready", timeout=2)
        return answer.ok and bool(answer.json()["status"] == "ready")
    except (requests.RequestException, KeyError, TypeError):
        return False


def _welcome(url: str, dashboard: str | None) -> str:
    """Return what to do next; ``dashboard`` is the address of Ray's, if that runs."""
    health = _health(url)
    about = f"  (model {health['model']}, encoder on {health['device']})" if health else ""
    sample = SAMPLE if SAMPLE.is_file() else "FILE"
    lines = [
        f"ready: {url}{about}",
        *([f"note: {health['notice']}"] if health and health["notice"] else []),
        f"try:   amanuensis transcribe {sample} --url {url}{'' if health else ' --key KEY'}",
        f"       curl {url}/v1/audio/transcriptions{'' if health else BEARER} -F file=@{sample}",
        f"docs:  {url}/docs    statistics: {url}/stats    stop: Ctrl-C",
        *([f"Ray:   http://{dashboard}    its token: {_command('ray')} get-auth-token"] if dashboard else []),
    ]
    return "\n".join(lines)


def _health(url: str) -> dict[str, Any] | None:
    """Return what the service says of itself; None where that needs an API key."""
    answer = requests.get(f"{url}/health", timeout=5)
    if answer.status_code == UNAUTHORIZED:
        return None
    answer.raise_for_status()
    document: dict[str, Any] = answer.json()
    return document
