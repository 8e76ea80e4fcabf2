"""Ending a service: nobody new is let in, what was accepted is answered, and then everything is taken down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from deployments.haproxy.home import STOPPING

SHUTDOWN_S: Final = 30.0
SLACK_S: Final = 10.0


def leave(applications: Sequence[str], drain_s: float, directory: Path) -> None:
    """Drain the applications, then end Serve and Ray. No step that fails keeps the next one from being done.

    Args:
        applications: those that accepted requests.
        drain_s: seconds that they may take to answer them.
        directory: the service's own.
    """
    asyncio.run(_leave(applications, drain_s, directory))
    _attempt("Ray's shutdown", _end_ray)


async def _leave(applications: Sequence[str], drain_s: float, directory: Path) -> None:
    from ray import serve  # noqa: PLC0415

    # In one event loop, which Serve's fast paths bind a handle to.
    if applications:
        click.echo("draining: requests that were accepted are answered first (Ctrl-C again ends at once)")
        await _attempt_for(drain_s + SLACK_S, "draining", _drain(applications))
    (directory / STOPPING).touch()
    await _attempt_for(SHUTDOWN_S, "Serve's shutdown", serve.shutdown_async())


async def _drain(applications: Sequence[str]) -> None:
    from ray import serve  # noqa: PLC0415

    draining = [serve.get_app_handle(name).drain.remote() for name in applications]
    for name, drained in zip(applications, draining, strict=True):
        if not await drained:
            click.echo(f"{name}: some requests took longer than drain_timeout_s; they are cut off")


def _end_ray() -> None:
    import ray  # noqa: PLC0415

    ray.shutdown()


async def _attempt_for(seconds: float, what: str, step: Any) -> None:
    try:
        await asyncio.wait_for(step, seconds)
    except Exception as error:  # noqa: BLE001  (whatever it is, the next step is done)
        _tell(what, error)


def _attempt(what: str, step: Callable[[], None]) -> None:
    try:
        step()
    except Exception as error:  # noqa: BLE001  (as above)
        _tell(what, error)


def _tell(what: str, error: Exception) -> None:
    click.echo(f"{what} failed: {error or type(error).__name__}", err=True)
