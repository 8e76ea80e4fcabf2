"""The load generator, a locust process of its own: ``python -m loadtests.scenarios.generator URL DIRECTORY``.

Reads the scenario from the directory, asks for every clip once, offers the load, and leaves ``requests.csv`` and
locust's own ``locust.csv`` there. It is a process of its own because gevent patches the whole interpreter.
"""

from __future__ import annotations

import csv
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

import gevent
from gevent.lock import BoundedSemaphore
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, task
from locust.contrib.fasthttp import FastResponse
from locust.env import Environment
from locust.exception import StopUser
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV

from loadtests.scenarios.answers import Answer, read
from loadtests.scenarios.arrivals import due_times
from loadtests.scenarios.figures import holds
from loadtests.scenarios.plan import Phase, Scenario
from loadtests.scenarios.recording import REQUESTS, Request, RequestLog, read_scenario
from loadtests.scenarios.traffic import Order, first_orders, orders

PATH = "/v1/audio/transcriptions"
GRACE_S = 10.0
POLL_S = 0.02
HANG_UP_AFTER_S = 0.1
LEARNING = Phase("learning", 0.0, 0.0)
"""Before the load: every clip once, one after the other."""

BROKEN_STEPS = 2
"""So many in a row end a ramp: one may be bad luck."""


class Play:
    """One scenario under way: hands each order to a free user at the moment when it is due, and logs the results.

    Attributes:
        expected: clip -> its text, as the service said it the first time.
    """

    def __init__(self, scenario: Scenario, log: TextIO) -> None:
        self.scenario = scenario
        self.expected: dict[str, str] = {}
        self._log = RequestLog(log)
        self._step: list[Request] = []
        self._in_flight = 0
        self._turn = BoundedSemaphore(1)
        self._arrivals = self._schedule()

    def next_arrival(self) -> tuple[Phase, float, Order] | None:
        """Returns when it is due; None when there are no more. Users wait here in turn."""
        with self._turn:
            arrival = next(self._arrivals, None)
            if arrival is not None:
                self._in_flight += 1
                gevent.sleep(max(0.0, arrival[1] - time.time()))
        return arrival

    def ended(self, request: Request) -> None:
        self._in_flight -= 1
        if request.phase == LEARNING.name:
            return
        self._step.append(request)
        self._log.write(request)

    def _schedule(self) -> Iterator[tuple[Phase, float, Order]]:
        for order in first_orders(self.scenario.mix):
            yield LEARNING, time.time(), order
            self._wait_for_answers()
        following, broken = orders(self.scenario.mix), 0
        for phases in self._steps():
            began, self._step = time.time(), []
            for phase, offset in due_times(phases):
                yield phase, began + offset, next(following)
            self._wait_for_answers()
            limit = self.scenario.step_limit
            broken = broken + 1 if limit and not holds(self._step, limit) else 0
            if broken == BROKEN_STEPS:
                return

    def _wait_for_answers(self) -> None:
        while self._in_flight:
            gevent.sleep(POLL_S)

    def _steps(self) -> Sequence[tuple[Phase, ...]]:
        phases = self.scenario.phases
        return [(phase,) for phase in phases] if self.scenario.step_limit else [phases]


class Client(FastHttpUser):
    """Sends what is due next, again and again. All clients share their connections and one play."""

    play: Play

    @task
    def ask(self) -> None:
        arrival = self.play.next_arrival()
        if arrival is None:
            raise StopUser
        phase, due, order = arrival
        began = time.time()
        status, answer, retry_after = self._send(order)
        seconds = time.time() - began
        self.play.ended(
            Request(
                phase.name,
                due,
                began,
                seconds,
                order.clip,
                order.size,
                order.kind,
                order.priority,
                status,
                answer.outcome,
                answer.code,
                float(retry_after) if retry_after else None,
            )
        )

    def _send(self, order: Order) -> tuple[int, Answer, str | None]:
        """The status, the answer, and the header ``Retry-After``."""
        headers = {
            "content-type": order.upload.content_type,
            "x-priority": order.priority,
            "x-timeout-seconds": str(self.play.scenario.deadline_s),
        }
        if order.kind == "hang up":
            _hang_up(str(self.host), order, headers)
            return 0, Answer("hung up"), None
        body: str = order.upload.body  # type: ignore[assignment]  # locust's annotation forgets bytes
        name = f"{order.size}, {order.kind}, {order.priority}"
        with self.client.post(PATH, data=body, headers=headers, name=name, catch_response=True) as response:
            answer = self._read(order, response)
            if answer.text is not None:
                self.play.expected.setdefault(order.clip, answer.text)
            if answer.outcome == "right":
                response.success()
            else:
                response.failure(f"{answer.outcome}: {answer.code}")
            return response.status_code, answer, (response.headers or {}).get("retry-after")

    def _read(self, order: Order, response: FastResponse) -> Answer:
        if not response.status_code:
            return Answer("error", type(response.error).__name__)
        return read(order.kind, response.status_code, response.content or b"", self.play.expected.get(order.clip))


def _hang_up(host: str, order: Order, headers: dict[str, str]) -> None:
    """Sends the request, waits a moment, and breaks the connection."""
    address = urlsplit(host)
    lines = {**headers, "host": address.netloc, "content-length": str(len(order.upload.body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection((str(address.hostname), address.port or 80), GRACE_S) as connection:
        connection.sendall(f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode() + order.upload.body)
        gevent.sleep(HANG_UP_AFTER_S)


def main(url: str, directory: Path) -> None:
    scenario = read_scenario(directory)
    with (directory / REQUESTS).open("w", encoding="utf-8", newline="") as log:
        environment = _offer(url, Play(scenario, log))
    with (directory / "locust.csv").open("w", encoding="utf-8", newline="") as file:
        StatsCSV(environment, PERCENTILES_TO_REPORT).requests_csv(csv.writer(file))


def _offer(url: str, play: Play) -> Environment:
    users = play.scenario.max_in_flight
    Client.play = play
    patience_s = play.scenario.deadline_s + GRACE_S
    Client.client_pool = HTTPClientPool(concurrency=users, network_timeout=patience_s, connection_timeout=patience_s)
    environment = Environment(user_classes=[Client], host=url)
    runner = environment.create_local_runner()
    runner.start(users, spawn_rate=users)
    runner.spawning_greenlet.join()
    runner.user_greenlets.join()
    runner.quit()
    return environment


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
