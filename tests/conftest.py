"""Which worker gets which tests, and when, where several run them (``pytest --numprocesses 3``)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.support.background_service import SERVICE

SERVICE_TESTS = "tests/service/"


class FilesTogether(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """The tests of a file in one worker: what they share is made once.

    Tests of the running service share what they do to its applications: those of a folder are in one worker, in their
    order. They come first as soon as the service is ready, which they leave when the last of them is done. (xdist's own
    groups, ``--dist loadgroup``, do nothing with pytest 9.)
    """

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """Note that a test is done."""
        super().mark_test_complete(node, item_index, duration)
        service = self.config.stash.get(SERVICE, None)
        if service is not None and not any(self._unfinished_service_tests()):
            service.leave()

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file.rpartition("/")[0] + "/" if file.startswith(SERVICE_TESTS) else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        service = self.config.stash.get(SERVICE, None)
        is_ready = service is not None and service.is_told
        following = min(self.workqueue, key=lambda scope: scope.startswith(SERVICE_TESTS) != is_ready)
        self.workqueue.move_to_end(following, last=False)
        super()._assign_work_unit(node)

    def _unfinished_service_tests(self) -> Iterator[str]:
        for units in (self.workqueue, *self.assigned_work.values()):
            for scope, tests in units.items():
                if scope.startswith(SERVICE_TESTS):
                    yield from (test for test, is_done in tests.items() if not is_done)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Give workers their tests."""
    return FilesTogether(config, log)
