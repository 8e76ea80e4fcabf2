"""For locust's own command and web page: ``locust -f loadtests/locustfile.py --host http://localhost:9000``.

With the environment variable ``SPEECH_CORPUS`` people speak, else synthetic voices do.

Every user sends one request a second, whether short clips or the mixed files, so that users are requests a second, as
long as answers come within one. The scenarios with criteria are in ``loadtests.load.scenarios``.
"""

from __future__ import annotations

import os
from pathlib import Path

from locust import constant_throughput, task

from loadtests.common.speech import human, synthetic
from loadtests.load.options import CORPUS
from loadtests.load.scenarios.traffic import orders
from loadtests.load.scenarios.uploader import Uploader

SPEECH = human(Path(os.environ[CORPUS])) if CORPUS in os.environ else synthetic()


class ShortClips(Uploader):
    """Clips of 3 to 15 s."""

    wait_time = constant_throughput(1)
    orders = orders("short", SPEECH)

    @task
    def upload(self) -> None:
        self.send(next(self.orders))


class MixedFiles(Uploader):
    """Short, long and minutes, streamed and plain, of all priorities; some users hang up."""

    wait_time = constant_throughput(1)
    orders = orders("mixed", SPEECH)

    @task
    def upload(self) -> None:
        self.send(next(self.orders))
