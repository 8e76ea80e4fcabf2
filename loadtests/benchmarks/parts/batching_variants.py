"""The graphs that the benchmark of batches compares. Ray is not imported: the load generator has no need of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from loadtests.common.service_process import GRAPH, Application

OWN: Final = "own"
VARIANTS: Final[Mapping[str, float | None]] = {OWN: None, "serve-0": 0.0, "serve-10": 0.01, "serve-50": 0.05}
"""Names -> the seconds for which ``@serve.batch`` waits; None for the service as it is."""

ONE_DECODER: Final = {"max_mel_replicas": 0, "max_decoder_replicas": 0}
"""Settings of all variants: Decoders that are added under load would change the batches."""

GRAPHS: Final = "loadtests.benchmarks.parts.serve_batching"
"""Module with a builder for each wait, because a service takes no arguments but its settings."""


def application(name: str, model: str) -> Application:
    """Return what serves a variant."""
    wait_s = VARIANTS[name]
    builder = GRAPH if wait_s is None else f"{GRAPHS}:wait_{1000 * wait_s:.0f}_ms"
    return Application(name, "/", ONE_DECODER, builder, model)


def label(name: str) -> str:
    """Return the variant as a report calls it."""
    wait_s = VARIANTS[name]
    return "`NaturalBatcher`" if wait_s is None else f"`@serve.batch`, {1000 * wait_s:g} ms"
