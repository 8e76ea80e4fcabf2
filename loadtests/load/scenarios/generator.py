"""Offer the load of one scenario with locust.

``python -m loadtests.load.scenarios.generator URL DIRECTORY`` reads the scenario and the right texts from the
directory, offers the load, and leaves ``requests.csv`` and locust's own ``locust.csv`` there. It is a process of its
own because gevent patches the whole interpreter.
"""

from __future__ import annotations

import argparse
import csv
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import gevent
from gevent.lock import BoundedSemaphore
from geventhttpclient.client import HTTPClientPool
from locust import task
from locust.env import Environment
from locust.exception import StopUser
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV

from loadtests.common.speech import Speech
from loadtests.load.calibration import Calibration
from loadtests.load.scenarios.phases import holds
from loadtests.load.scenarios.plan import Phase, Scenario
from loadtests.load.scenarios.recording import REQUESTS, RequestRow, RequestTable, read_calibration, read_scenario
from loadtests.load.scenarios.schedule import due_times
from loadtests.load.scenarios.traffic import Order, draw_orders
from loadtests.load.scenarios.uploader import Uploader
from loadtests.load.subject import add_subject, subject_of

GRACE_S = 10.0
POLL_S = 0.02
BROKEN_STEPS = 2
"""So many in a row end a ramp: one may be bad luck."""


class Play:
    """One scenario under way: hands each order to a free user at the moment when it is due, and logs the results."""

    def __init__(self, scenario: Scenario, calibration: Calibration, speech: Speech, log: TextIO) -> None:
        self.scenario = scenario
        self.calibration = calibration
        self._orders = draw_orders(scenario.mix, speech)
        self._table = RequestTable(log)
        self._step: list[RequestRow] = []
        self._in_flight = 0
        self._turn = BoundedSemaphore(1)
        self._arrivals = self._schedule()

    def next_arrival(self) -> tuple[Phase, float, Order] | None:
        """Wait until the next request is due and return it; None when there are no more. Users wait here in turn."""
        with self._turn:
            arrival = next(self._arrivals, None)
            if arrival is not None:
                self._in_flight += 1
                gevent.sleep(max(0.0, arrival[1] - time.time()))
        return arrival

    def ended(self, request: RequestRow) -> None:
        """Take in a request that has ended."""
        self._in_flight -= 1
        self._step.append(request)
        self._table.write(request)

    def _schedule(self) -> Iterator[tuple[Phase, float, Order]]:
        broken = 0
        for phases in self._steps():
            began, self._step = time.time(), []
            for phase, offset in due_times(phases):
                yield phase, began + offset, next(self._orders)
            self._wait_for_answers()
            limit = self.scenario.step_limit
            broken = broken + 1 if limit and not holds(self._step, limit, self.calibration.request_s) else 0
            if broken == BROKEN_STEPS:
                return

    def _wait_for_answers(self) -> None:
        while self._in_flight:
            gevent.sleep(POLL_S)

    def _steps(self) -> Sequence[tuple[Phase, ...]]:
        phases = self.scenario.phases
        return [(phase,) for phase in phases] if self.scenario.step_limit else [phases]


class Client(Uploader):
    """A user that sends what is due next, again and again. All share their connections and one play."""

    play: Play

    @task
    def ask(self) -> None:
        arrival = self.play.next_arrival()
        if arrival is None:
            raise StopUser
        phase, due, order = arrival
        sent = self.send(order)
        self.play.ended(
            RequestRow(
                phase.name,
                due,
                sent.began,
                sent.seconds,
                order.clip,
                order.size,
                order.kind,
                order.priority,
                sent.reply.status,
                sent.reply.outcome,
                sent.reply.code,
                sent.reply.retry_after_s,
            )
        )


def main(options: argparse.Namespace) -> None:
    logging.getLogger("locust.runners").setLevel(logging.ERROR)  # its warning of many users at once: these only wait
    directory, speech = options.directory, subject_of(options).speech
    scenario, calibration = read_scenario(directory), read_calibration(directory)
    with (directory / REQUESTS).open("w", encoding="utf-8", newline="") as log:
        environment = _offer(options.url, Play(scenario, calibration, speech, log))
    with (directory / "locust.csv").open("w", encoding="utf-8", newline="") as file:
        StatsCSV(environment, PERCENTILES_TO_REPORT).requests_csv(csv.writer(file))


def _offer(url: str, play: Play) -> Environment:
    users = play.scenario.max_in_flight
    Client.play, Client.deadline_s, Client.expected = play, play.scenario.deadline_s, play.calibration.texts
    patience_s = play.scenario.deadline_s + GRACE_S
    Client.client_pool = HTTPClientPool(concurrency=users, network_timeout=patience_s, connection_timeout=patience_s)
    environment = Environment(user_classes=[Client], host=url)
    runner = environment.create_local_runner()
    runner.start(users, spawn_rate=users)
    if runner.spawning_greenlet:
        runner.spawning_greenlet.join()
    runner.user_greenlets.join()
    runner.quit()
    return environment


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("url", help="of the running service")
    parser.add_argument("directory", type=Path, help="of the scenario")
    add_subject(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main(_options())
