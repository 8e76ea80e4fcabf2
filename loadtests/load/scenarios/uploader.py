"""A locust user that uploads audio and checks the text that comes back."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

import gevent
from locust import FastHttpUser
from locust.contrib.fasthttp import FastResponse

from loadtests.load.scenarios.answers import Answer, read
from loadtests.load.scenarios.traffic import Order

PATH = "/v1/audio/transcriptions"
CONNECT_S = 10.0
HANG_UP_AFTER_S = 0.1


@dataclass(frozen=True)
class Sent:
    """One request that has ended. Times in seconds, ``began`` since the epoch; a status of 0: no answer came."""

    began: float
    seconds: float
    status: int
    answer: Answer
    retry_after_s: float | None


class Uploader(FastHttpUser):
    """Sends orders.

    Attributes:
        expected: clip -> its text as the service said it the first time, which all users compare with.
        deadline_s: that every request asks for.
    """

    abstract = True
    expected: ClassVar[dict[str, str]] = {}
    deadline_s: float = 60.0

    def send(self, order: Order) -> Sent:
        """Sends one order and reads the answer. Locust counts any answer but the right text as a failure."""
        headers = {
            "content-type": order.upload.content_type,
            "x-priority": order.priority,
            "x-timeout-seconds": str(self.deadline_s),
        }
        began = time.time()
        if order.kind == "hang up":
            _hang_up(str(self.host), order, headers)
            return Sent(began, time.time() - began, 0, Answer("hung up"), None)
        body: str = order.upload.body  # type: ignore[assignment]  # locust's annotation forgets bytes
        name = f"{order.size}, {order.kind}, {order.priority}"
        with self.client.post(PATH, data=body, headers=headers, name=name, catch_response=True) as response:
            seconds = time.time() - began
            answer = self._read(order, response)
            if answer.outcome == "right":
                response.success()
            else:
                response.failure(f"{answer.outcome}: {answer.code}")
            retry_after = (response.headers or {}).get("retry-after")
            return Sent(began, seconds, response.status_code, answer, float(retry_after) if retry_after else None)

    def _read(self, order: Order, response: FastResponse) -> Answer:
        if not response.status_code:
            return Answer("error", type(getattr(response, "error", None)).__name__)
        answer = read(order.kind, response.status_code, response.content or b"", self.expected.get(order.clip))
        if answer.text is not None:
            self.expected.setdefault(order.clip, answer.text)
        return answer


def _hang_up(host: str, order: Order, headers: dict[str, str]) -> None:
    """Sends the request, waits a moment, and breaks the connection, if the service did not."""
    address = urlsplit(host)
    lines = {**headers, "host": address.netloc, "content-length": str(len(order.upload.body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with suppress(OSError), socket.create_connection((str(address.hostname), address.port or 80), CONNECT_S) as peer:
        peer.sendall(f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode() + order.upload.body)
        gevent.sleep(HANG_UP_AFTER_S)
