"""Tells a stage that is busy from one that hangs: hung is who has work and gets nowhere for longer than a budget.

How long a call waits says nothing: under load each waits for those ahead of it. What counts is the time since the work
last got a step further: a window encoded, a batch decoded, a second of audio read.
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
"""Between two looks at most so much counts. Who looks less often stood still itself, and perhaps its work with it."""

STEPS = 64
"""The slowest of so many latest steps counts: whatever held up one of them is forgotten in the end."""

FIRST_STEP_FACTOR = 10.0
"""As long as no step has been seen, the budget is this many times longer: the model may be large, the machine slow."""

HUNG_AFTER = 2.0
"""Budgets without a step after which a replica is to be replaced. After one, the ingress gives its calls up."""


class ProgressWatch:
    """Watches all the work of one replica. Thread-safe: threads work, the event loop looks.

    The budget grows with what the stage is seen to need, so that a large model on a slow machine is not taken for one
    that hangs.

    Args:
        budget_s: the longest that one step may take, whatever is known of the stage.
        slack: how many times slower than the slowest step seen the next one may be.
        clock: monotonic seconds.
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
        """A piece of work that is under way while the context lasts."""
        work = self.begin()
        try:
            yield work
        finally:
            self.end(work)

    def begin(self) -> Work:
        """A piece of work is under way, until ``end``."""
        work = Work(self)
        with self.lock:
            self._works.add(work)
        return work

    def end(self, work: Work) -> None:
        """The work is over, whether it succeeded or not."""
        with self.lock:
            self._works.discard(work)

    def learn(self, step_s: float) -> None:
        """A step was seen to take so many seconds."""
        self._steps.append(step_s)

    def progress(self) -> StageProgress:
        """How long the piece of work that is worst off has got nowhere, and how long it may."""
        now = self.clock()
        with self.lock:
            passed_s = min(now - self._looked_at, LONGEST_LOOK_S)
            self._looked_at = now
            stalled_s = max((work.look(passed_s, now) for work in self._works), default=0.0)
            budget_s = self._budget_s()
        return StageProgress(stalled_s, budget_s)

    def check_progress(self) -> None:
        """For Serve, which replaces a replica whose check fails three times in a row.

        Raises:
            StageHungError: some work has got nowhere for ``HUNG_AFTER`` budgets.
        """
        progress = self.progress()
        if progress.stalled_s >= HUNG_AFTER * progress.budget_s:
            raise StageHungError(f"The replica has work and has finished nothing for {progress.stalled_s:.0f} s.")

    def _budget_s(self) -> float:
        if not self._steps:
            return FIRST_STEP_FACTOR * self._least_s
        return max(self._least_s, self._slack * max(self._steps))


class Work:
    """What one thread of a replica works on; made by ``ProgressWatch``."""

    def __init__(self, watch: ProgressWatch) -> None:
        self._watch = watch
        self._since = watch.clock()
        self._stalled_s = 0.0
        self._allowance_s = 0.0

    def progressed(self, allowance_s: float = 0.0) -> None:
        """A step is done.

        Args:
            allowance_s: what the next step may take beyond the budget, where its length is known.
        """
        now = self._watch.clock()
        with self._watch.lock:
            if not self._allowance_s:
                self._watch.learn(now - self._since)
            self._since, self._stalled_s, self._allowance_s = now, 0.0, allowance_s

    def look(self, passed_s: float, now: float) -> float:
        """Seconds without a step, when ``passed_s`` more have passed; for the watch, which holds its lock."""
        self._stalled_s = min(self._stalled_s + passed_s, now - self._since)
        return max(0.0, self._stalled_s - self._allowance_s)
