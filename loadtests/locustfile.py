"""Users for locust's own command and web page: ``locust -f loadtests/locustfile.py --host http://localhost:9000``.

With the environment variable ``SPEECH_CORPUS`` people speak, else synthetic voices do.

Every user sends one request per second, whether short clips or the mixed files, so that there are as many
requests per second as users, if answers come within a second. Scenarios with criteria are in
``loadtests.load.scenarios``.
"""

from __future__ import annotations

import os
from pathlib import Path

from locust import constant_throughput, task

from loadtests.common.speech import CORPUS_VARIABLE, human, synthetic
from loadtests.load.scenarios.traffic import draw_orders
from loadtests.load.scenarios.uploader import Uploader

SPEECH = human(Path(os.environ[CORPUS_VARIABLE])) if CORPUS_VARIABLE in os.environ else synthetic()


class ShortClips(Uploader):
    """Users who send clips of 3 to 15 s."""

    wait_time = constant_throughput(1)
    orders = draw_orders("short", SPEECH)

    @task
    def upload(self) -> None:
        self.send(next(self.orders))


class MixedFiles(Uploader):
    """Users who send short, long and very long files, streamed and plain, of all priorities; some hang up."""

    wait_time = constant_throughput(1)
    orders = draw_orders("mixed", SPEECH)

    @task
    def upload(self) -> None:
        self.send(next(self.orders))
