"""Runs the whole service here: ``python -m deployments.commands.serve serve_config.yaml`` (what ``make serve`` does).

Fetches the model if it is not on this machine, starts Ray with the encoder's resource and Serve's fast paths, hands the
configuration to ``serve run``, says when the service is ready, and on Ctrl-C or SIGTERM drains it before it leaves.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import yaml

from deployments.shared.errors import ConfigurationError
from deployments.shared.model.description import load_model
from deployments.shared.settings import Settings

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

ENCODER_RESOURCE = "npu"
READY_TIMEOUT_S = 180.0
POLL_S = 0.25
LEAVE_S = 5.0
FAILED = "DEPLOY_FAILED"
UNAUTHORIZED = 401


def main(config_path: Path) -> int:
    """Serves until a signal comes; returns the exit status."""
    config = yaml.safe_load(config_path.read_text(encoding="utf-8"))
    name = config["applications"][0]["name"]
    url = _url(config.get("http_options", {}))
    try:
        devices = _devices(config["applications"])
        _fetch_models(config["applications"])
    except ConfigurationError as error:
        _say(str(error))
        return 1
    stop = _stop_signals()
    for variable, value in {**FAST_PATHS, **SELF_HEALING}.items():
        os.environ.setdefault(variable, value)

    import ray  # noqa: PLC0415  (reads the environment when imported)

    applications = [application["name"] for application in config["applications"]]
    ready: list[str] = []
    _say("starting Ray")
    context = ray.init(resources={ENCODER_RESOURCE: float(devices)})
    try:
        address = context.address_info["gcs_address"]
        subprocess.run(  # noqa: S603  (our own command)
            [_command("serve"), "run", str(config_path), "--address", address, "--non-blocking"], check=True
        )
        failure = _wait_until_ready(url, name, stop)
        if failure:
            _say(failure)
            return 1
        if not stop.is_set():
            ready = applications
            _say(_welcome(url, context.dashboard_url))
        stop.wait()
        return 0
    finally:
        started = psutil.Process().children(recursive=True)
        asyncio.run(_leave(ready))
        ray.shutdown()
        _end(started)
        _say("stopped")


def _devices(applications: list[dict[str, Any]]) -> int:
    """What the encoders of all applications are pinned to."""
    return sum(Settings.resolve(application.get("args", {})).encoder_replicas for application in applications)


def _fetch_models(applications: list[dict[str, Any]]) -> None:
    """Find or fetch every application's model, with a progress bar, before anything else runs or has to be ready.

    ``build()`` finds it again, in the model cache, and gives its path to the replicas.
    """
    for application in applications:
        load_model(Settings.resolve(application.get("args", {})))


def _stop_signals() -> threading.Event:
    """Set by the first SIGINT or SIGTERM; the second one has its usual effect."""
    stop = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return stop


async def _leave(applications: list[str]) -> None:
    """Drains the applications, then ends Serve."""
    from ray import serve  # noqa: PLC0415

    # In one event loop, which Serve's fast paths bind a handle to.
    try:
        await _drain(applications)
    finally:
        await serve.shutdown_async()


async def _drain(applications: list[str]) -> None:
    from ray import serve  # noqa: PLC0415

    if applications:
        _say("draining: requests that were accepted are answered first (Ctrl-C again ends at once)")
    draining = [serve.get_app_handle(name).drain.remote() for name in applications]
    for name, drained in zip(applications, draining, strict=True):
        if not await drained:
            _say(f"{name}: some requests took longer than drain_timeout_s; they are cut off")


def _end(processes: list[psutil.Process]) -> None:
    """Waits for processes that were told to end; Ray's own ones sometimes do not."""
    _, left = psutil.wait_procs(processes, LEAVE_S)
    for process in left:
        process.kill()
    psutil.wait_procs(left, LEAVE_S)


def _command(name: str) -> str:
    """The command of the environment that runs this."""
    return str(Path(sys.executable).with_name(name))


def _wait_until_ready(url: str, name: str, stop: threading.Event) -> str | None:
    """None once the service is ready or a signal came, else what went wrong."""
    from ray import serve  # noqa: PLC0415

    began = time.monotonic()
    while time.monotonic() - began < READY_TIMEOUT_S and not stop.is_set():
        application = serve.status().applications.get(name)
        if application is not None and application.status == FAILED:
            return f"the service could not start:\n{application.message}"
        if _is_ready(url):
            return None
        time.sleep(POLL_S)
    return None if stop.is_set() else f"not ready after {READY_TIMEOUT_S:g} s; see the log above"


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=2) as response:  # noqa: S310  (our own http address)
            return bool(json.load(response)["status"] == "ready")
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError):
        return False


def _url(http_options: dict[str, Any]) -> str:
    host = http_options.get("host", "127.0.0.1")
    return f"http://{'localhost' if host in {'0.0.0.0', '127.0.0.1'} else host}:{http_options.get('port', 8000)}"  # noqa: S104


def _welcome(url: str, dashboard: str | None) -> str:
    """What to do next; ``dashboard`` is the address of Ray's, if that runs."""
    health = _health(url)
    about = f"  (model {health['model']}, encoder on {health['device']})" if health else ""
    key = "" if health else " -H 'Authorization: Bearer KEY'"
    lines = [
        f"ready: {url}{about}",
        *([f"note: {health['notice']}"] if health and health["notice"] else []),
        f"try:   curl {url}/v1/audio/transcriptions{key} -F file=@tests/audio/human/jfk.flac",
        f"docs:  {url}/docs    statistics: {url}/stats    stop: Ctrl-C",
        *([f"Ray:   http://{dashboard}    its token: {_command('ray')} get-auth-token"] if dashboard else []),
    ]
    return "\n".join(lines)


def _health(url: str) -> dict[str, Any] | None:
    """What the service says of itself; None where that needs an API key."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:  # noqa: S310  (our own http address)
            document: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        if error.code != UNAUTHORIZED:
            raise
        return None
    return document


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that an interrupted download is tidied up
    try:
        sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "serve_config.yaml").resolve()))
    except KeyboardInterrupt:  # the second Ctrl-C, or one before Ray was started
        sys.exit(128 + signal.SIGINT)
