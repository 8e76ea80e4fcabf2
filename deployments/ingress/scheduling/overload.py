"""Who is refused because the service cannot answer in time, and when it should be asked again.

- A request that could not be answered by its deadline is refused. What it needs is a forecast (``forecast.py``): from
  those ahead of it, uploading or waiting, those of higher priority that will overtake it, and the pace at which slots
  become free; then it holds its slot for as long as others do. A forecast is a mean, so before the upload ``MARGIN`` is
  added. Nothing is refused while a slot is free for it, nor before the pace is known.
- A file whose windows are counted is refused where the rest of them do not fit its deadline.
- ``Retry-After`` is the time after which the queue will have got short enough, counted behind all those who were told a
  time before. As long as any of them is still to come, half of the queue is left to them, or else those whose request
  was just answered would always come first.
"""

from __future__ import annotations

import math
import time

from deployments.ingress.request import Priority
from deployments.ingress.scheduling.forecast import Forecast
from deployments.ingress.scheduling.promises import Promises
from deployments.ingress.scheduling.queues import Queues, Rest
from deployments.ingress.scheduling.slots import Slots
from deployments.ingress.telemetry.statistics import QueueStatistics
from deployments.shared.errors import OverloadedError, TimeoutTooShortError
from deployments.shared.headers import TIMEOUT_HEADER

MIN_RETRY_AFTER_S = 1
MAX_RETRY_AFTER_S = 300

MARGIN = 1.25
"""What is foreseen may turn out this much longer: about one standard deviation of the wait where half of the slots go
to higher priorities, whose arrivals vary. Where requests keep coming it costs no throughput, only a shorter queue."""


class Overload:
    """Compares what is asked with what the forecast promises. Lives in the ingress's event loop."""

    def __init__(self, slots: Slots, queues: Queues, forecast: Forecast, statistics: QueueStatistics) -> None:
        self._slots = slots
        self._queues = queues
        self._forecast = forecast
        self._statistics = statistics
        self._promises = {priority: Promises() for priority in Priority}

    def refuse_newcomer(self, priority: Priority, deadline: float) -> None:
        """Refuse a request whose body is not read yet, if it would be late.

        Raises:
            OverloadedError: it would be.
        """
        self._refuse_late(priority, deadline, MARGIN, self._left_to_others(priority))

    def refuse_late(self, priority: Priority, deadline: float) -> None:
        """Refuse a request whose body is read, if it would be late.

        Raises:
            OverloadedError: it would be.
        """
        self._refuse_late(priority, deadline, 1.0, 0.0)

    def refuse_too_long(self, rest: Rest, deadline: float) -> None:
        """Refuse a request whose windows are known, if they do not fit its deadline.

        Raises:
            TimeoutTooShortError: this machine cannot do so many windows in that time.
            OverloadedError: it cannot with what is ahead.
        """
        left_s = (deadline - time.monotonic()) / MARGIN
        windows, alone_s = rest.windows + 1, (rest.windows + 1) * self._forecast.window_s
        if alone_s > left_s:
            raise TimeoutTooShortError(
                f"{windows} windows of speech take this machine about {MARGIN * alone_s:.0f} s, and "
                f"{MARGIN * left_s:.0f} s are left: send a larger {TIMEOUT_HEADER} (max_request_timeout_s of this "
                "service at most) or shorter audio; without that header timeout_per_audio_s decides",
                param=TIMEOUT_HEADER,
            )
        now = time.monotonic()
        ahead = self._slots.in_use + self._windows_ahead(rest.priority.lower, now) + self._queues.windows_beside(rest)
        needed_s = self._forecast.rest_s(ahead, rest.windows, now)
        if needed_s > left_s:
            self._statistics.dropped("deadline")
            raise OverloadedError(
                f"{windows} windows of speech behind those that are ahead take about {MARGIN * needed_s:.0f} s, and "
                f"{MARGIN * left_s:.0f} s are left: try again later or send a larger {TIMEOUT_HEADER} "
                "(max_request_timeout_s of this service at most)",
                retry_after_s=within_bounds(needed_s - left_s),
            )

    def retry_after_wait(self, priority: Priority) -> int:
        """Return the ``Retry-After`` of a request that found no place in the queue."""
        now = time.monotonic()
        return self._promise(priority, self._forecast.wait_s(priority, self._promised(priority), now))

    def retry_after_answer(self, priority: Priority, left_s: float = 0.0) -> int:
        """Return the ``Retry-After`` of a request that would be answered too late.

        Args:
            left_s: seconds that it will have the next time.
        """
        return self._promise(priority, self._needed_s(priority, self._promised(priority)) - left_s)

    def _refuse_late(self, priority: Priority, deadline: float, margin: float, left_to_others: float) -> None:
        left_s = (deadline - time.monotonic()) / margin
        needed_s = self._needed_s(priority, left_to_others)
        if not needed_s or needed_s <= left_s:
            return
        self._statistics.dropped("deadline")
        raise OverloadedError(
            "Too much is ahead of this request for its deadline; try again later or allow more time",
            retry_after_s=self.retry_after_answer(priority, left_s),
        )

    def _needed_s(self, priority: Priority, more: float) -> float:
        """Return how long a newcomer would take to its answer, behind those ahead and ``more`` windows.

        0 while a slot is free for it, and as long as the pace is not known.
        """
        now = time.monotonic()
        ahead = self._windows_ahead(priority, now) - self._slots.available
        if ahead < 0:
            return 0.0
        return self._forecast.wait_s(priority, ahead + more, now) + self._forecast.answer_s(now)

    def _windows_ahead(self, priority: Priority, now: float) -> float:
        return self._queues.windows_ahead(priority, self._forecast.turn, now)

    def _left_to_others(self, priority: Priority) -> float:
        """Return how many windows to leave room for beside those ahead: for requests that were told to come back."""
        now = time.monotonic()
        if self._promises[priority].keep(now):
            return 0.0
        return min(self._windows_ahead(priority, now), self._promised(priority))

    def _promised(self, priority: Priority) -> float:
        """Return how many windows those will bring who were told to come back."""
        return self._forecast.turn * self._promises[priority].outstanding(time.monotonic())

    def _promise(self, priority: Priority, seconds: float) -> int:
        """Return the ``Retry-After`` for who can be served in so many seconds; the next one will be behind it."""
        retry_after_s = within_bounds(seconds)
        if retry_after_s < MAX_RETRY_AFTER_S:
            self._promises[priority].add(time.monotonic() + retry_after_s)
        return retry_after_s


def within_bounds(seconds: float) -> int:
    """Return whole seconds that a ``Retry-After`` may have."""
    return min(max(MIN_RETRY_AFTER_S, math.ceil(seconds)), MAX_RETRY_AFTER_S)
