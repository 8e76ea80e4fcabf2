"""A watch that tells a busy stage from one that hangs: that has work, but makes no progress for longer than a budget.

The time that a call waits says nothing: under load every call waits for those ahead of it. What counts is the time
since the last step of the work: a window encoded, a batch decoded, a second of audio read.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.shared.contracts import StageProgress
from deployments.shared.errors import StageHungError

LONGEST_LOOK_S = 5.0
"""Seconds that count at most between two looks. A process that looks less often stood still itself, and perhaps its
work with it."""

STEPS = 64
"""Number of latest steps of which the slowest counts, so that what delayed a single step is forgotten in the end."""

FIRST_STEP_FACTOR = 10.0
"""Factor of the budget until a first step is seen: the model may be large, and the machine slow."""

HUNG_AFTER = 1.5
"""Budgets without a step after which a replica is replaced. After one budget, the ingress sends it nothing more."""


class ProgressWatch:
    """A watch over all the work of one replica. Thread-safe: threads work, the event loop looks.

    The budget grows with what the steps are seen to take, so that a large model on a slow machine never seems to hang.

    Args:
        budget_s: seconds that one step may always take, however fast the steps before were.
        slack: how many times slower than the slowest step seen the next one may be.
        clock: returns monotonic seconds.
    """

    def __init__(self, budget_s: float, slack: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.lock = threading.Lock()
        self._least_s = budget_s
        self._slack = slack
        self._steps: deque[float] = deque(maxlen=STEPS)
        self._works: set[Work] = set()
        self._looked_at = clock()

    @contextmanager
    def work(self) -> Iterator[Work]:
        """Watch a piece of work that is under way while the context lasts."""
        work = self.begin()
        try:
            yield work
        finally:
            self.end(work)

    def begin(self) -> Work:
        """Watch a piece of work from now until ``end``."""
        work = Work(self)
        with self.lock:
            self._works.add(work)
        return work

    def end(self, work: Work) -> None:
        """Watch a piece of work no longer: it is over, whether it succeeded or not."""
        with self.lock:
            self._works.discard(work)

    def learn(self, step_s: float) -> None:
        """Count a step that took so many seconds."""
        self._steps.append(step_s)

    def progress(self) -> StageProgress:
        """Return how long the slowest piece of work has made no progress, and how long it may."""
        now = self.clock()
        with self.lock:
            passed_s = min(now - self._looked_at, LONGEST_LOOK_S)
            self._looked_at = now
            stalled_s = max((work.look(passed_s, now) for work in self._works), default=0.0)
            budget_s = self._budget_s()
        return StageProgress(stalled_s, budget_s)

    def check_progress(self) -> None:
        """Raise an error if the replica hangs: Serve replaces a replica whose check fails three times in a row.

        Raises:
            StageHungError: a piece of work has made no progress for ``HUNG_AFTER`` budgets.
        """
        progress = self.progress()
        if progress.stalled_s >= HUNG_AFTER * progress.budget_s:
            raise StageHungError(f"The replica has work and has finished nothing for {progress.stalled_s:.0f} s")

    def _budget_s(self) -> float:
        if not self._steps:
            return FIRST_STEP_FACTOR * self._least_s
        return max(self._least_s, self._slack * max(self._steps))


class Work:
    """A piece of work of one thread; made by ``ProgressWatch``."""

    def __init__(self, watch: ProgressWatch) -> None:
        self._watch = watch
        self._since = watch.clock()
        self._stalled_s = 0.0
        self._allowance_s = 0.0

    def progressed(self, allowance_s: float = 0.0) -> None:
        """Note that a step is done.

        Args:
            allowance_s: seconds that the next step may take beyond the budget, where its length is known.
        """
        now = self._watch.clock()
        with self._watch.lock:
            if not self._allowance_s:
                self._watch.learn(now - self._since)
            self._since, self._stalled_s, self._allowance_s = now, 0.0, allowance_s

    def look(self, passed_s: float, now: float) -> float:
        """Count ``passed_s`` more, and return the seconds without a step; called by the watch, which holds its lock."""
        self._stalled_s = min(self._stalled_s + passed_s, now - self._since)
        return max(0.0, self._stalled_s - self._allowance_s)
