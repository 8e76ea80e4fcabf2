"""Work in threads that nobody waits for when the command is interrupted.

``concurrent.futures`` waits for its threads before the process ends, and those here wait for a service.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def start_all(work: Callable[[Item], Result], items: Sequence[Item], at_once: int) -> list[Future[Result]]:
    """Call ``work`` with every item, the first ones first, a few at once; return the results to come, in order."""
    futures: list[Future[Result]] = [Future() for _ in items]
    todo: SimpleQueue[tuple[Item, Future[Result]]] = SimpleQueue()
    for pair in zip(items, futures, strict=True):
        todo.put(pair)

    def run() -> None:
        while True:
            try:
                item, future = todo.get_nowait()
            except Empty:
                return
            try:
                future.set_result(work(item))
            except BaseException as error:  # noqa: BLE001  (whoever asks for the result gets it)
                future.set_exception(error)

    for _ in range(min(at_once, len(items))):
        Thread(target=run, daemon=True).start()
    return futures
