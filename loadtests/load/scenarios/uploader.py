"""A locust user that uploads audio and checks the text that comes back."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar
from urllib.parse import urlsplit

import gevent
from locust import FastHttpUser
from locust.contrib.fasthttp import FastResponse

from loadtests.common.client import CONNECT_S, PATH, Upload, raw_request
from loadtests.common.replies import HUNG_UP, Reply, read_reply
from loadtests.load.scenarios.traffic import Order

HANG_UP_AFTER_S = 0.1


@dataclass(frozen=True)
class Sent:
    """One request that has ended.

    Attributes:
        began: seconds since the epoch.
    """

    began: float
    seconds: float
    reply: Reply


class Uploader(FastHttpUser):
    """A client that sends orders.

    Attributes:
        expected: clip -> its text as the service said it the first time, which all users compare with.
        deadline_s: the deadline that every request asks for.
    """

    abstract = True
    expected: ClassVar[dict[str, str]] = {}
    deadline_s: float = 60.0

    def send(self, order: Order) -> Sent:
        """Send one order and read the answer. Locust counts any answer but the right text as a failure."""
        upload = replace(order.upload, deadline_s=self.deadline_s)
        began = time.time()
        if order.kind == "hang up":
            _hang_up(str(self.host), upload)
            return Sent(began, time.time() - began, HUNG_UP)
        body: str = upload.body  # type: ignore[assignment]  # locust's annotation forgets bytes
        name = f"{order.size}, {order.kind}, {order.priority}"
        with self.client.post(PATH, data=body, headers=upload.headers, name=name, catch_response=True) as response:
            seconds = time.time() - began
            reply = self._read(order, response)
            if reply.outcome == "right":
                response.success()
            else:
                response.failure(f"{reply.outcome}: {reply.code}")
            return Sent(began, seconds, reply)

    def _read(self, order: Order, response: FastResponse) -> Reply:
        if not response.status_code:
            return Reply("no answer", code=type(getattr(response, "error", None)).__name__)
        reply = read_reply(
            response.status_code,
            {name.lower(): value for name, value in (response.headers or {}).items()},
            response.content or b"",
            streamed=order.upload.streamed,
            expected=self.expected.get(order.clip),
        )
        if reply.text is not None:
            self.expected.setdefault(order.clip, reply.text)
        return reply


def _hang_up(host: str, upload: Upload) -> None:
    """Send the request, wait a moment, and break the connection, if the service did not; gevent has no event loop."""
    address = urlsplit(host)
    with suppress(OSError), socket.create_connection((str(address.hostname), address.port or 80), CONNECT_S) as peer:
        peer.sendall(raw_request(host, upload))
        gevent.sleep(HANG_UP_AFTER_S)
