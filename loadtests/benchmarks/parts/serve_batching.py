"""The service's graph with Serve's own batches in the Decoder: all else, and all that is computed, is the same."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Generic, TypeAlias, TypeVar

from ray import serve
from ray.serve import Application

from deployments.app import decoder_options, encoders, ingress, mel
from deployments.decoder.batcher import UNFINISHED, Batchable, Outcome
from deployments.decoder.deployment import Decoder
from deployments.placement import Placement
from deployments.shared.model.description import Model, load_model
from deployments.shared.settings import Settings

Item = TypeVar("Item", bound=Batchable)
Result = TypeVar("Result")
Work: TypeAlias = Callable[[Sequence[Item]], Sequence[Outcome[Result]]]


class ServeBatcher(Generic[Item, Result]):
    """What ``NaturalBatcher`` is, made of ``@serve.batch``: first come, first served, and a batch ends as a whole.

    Args:
        work: takes the next step of items of one kind, as for ``NaturalBatcher``.
        wait_s: seconds that the first item of a batch waits for others.
    """

    def __init__(self, work: Work[Item, Result], max_size: int, executor: Executor, wait_s: float) -> None:
        async def run_batch(items: list[Item]) -> list[Result | Exception]:
            return await asyncio.get_running_loop().run_in_executor(executor, take_all_steps, work, items)

        self._batched = serve.batch(max_batch_size=max_size, batch_wait_timeout_s=wait_s)(run_batch)

    async def __call__(self, item: Item) -> Result:
        """Wait for the batch that this item gets into, and for all steps of all its items."""
        outcome: Result | Exception = await self._batched(item)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def take_all_steps(work: Work[Item, Result], items: Sequence[Item]) -> list[Result | Exception]:
    """Return the result of each item of a batch, in order; in each step items of one kind are one call of ``work``."""
    results: dict[int, Result | Exception] = {}
    while pending := [number for number in range(len(items)) if number not in results]:
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for number in pending:
            groups[items[number].kind].append(number)
        for group in groups.values():
            outcomes = work([items[number] for number in group])
            numbered = zip(group, outcomes, strict=True)
            results.update({number: outcome for number, outcome in numbered if outcome is not UNFINISHED})
    return [results[number] for number in range(len(items))]


@serve.deployment
class ServeBatchingDecoder(Decoder.func_or_class):  # type: ignore[name-defined,misc]  # Ray made a deployment of the class
    """The Decoder with the other batches."""

    def __init__(self, settings: Settings, model: Model, wait_s: float) -> None:
        super().__init__(settings, model)
        executor = ThreadPoolExecutor(1, thread_name_prefix="decoder")
        self._batcher = ServeBatcher(self._run_watched, settings.decoder_batch_size, executor, wait_s)


def wait_0_ms(arguments: dict[str, Any]) -> Application:
    """Return the graph in which a batch is what waits at this moment."""
    return build(arguments, 0.0)


def wait_10_ms(arguments: dict[str, Any]) -> Application:
    """Return the graph in which a batch waits for company as long as Serve's own default says."""
    return build(arguments, 0.01)


def wait_50_ms(arguments: dict[str, Any]) -> Application:
    """Return the graph in which a batch waits longer for company."""
    return build(arguments, 0.05)


def build(arguments: dict[str, Any], wait_s: float) -> Application:
    """Return the graph of ``deployments.app`` whose Decoder leaves its batches to Serve."""
    placement = Placement.here(Settings.resolve(arguments))
    model = load_model(placement.settings)
    stages = mel(placement, model), encoders(placement, model), _decoder(placement, model, wait_s), None
    return ingress(placement, model, *stages)


def _decoder(placement: Placement, model: Model, wait_s: float) -> Application:
    # Under the name of the original, by which its CPU time is found.
    options = {**decoder_options(placement), "name": "Decoder"}
    application: Application = ServeBatchingDecoder.options(**options).bind(placement.settings, model, wait_s)
    return application
