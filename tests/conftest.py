"""Which worker gets which test, where several run them (``pytest --numprocesses 3``)."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

SERVICE = "tests/service/"
NPU = "tests/service/test_npu.py"


class FilesTogether(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """The tests of a file in one worker: what they share is made once.

    Tests of the running service are all in one worker, in their order: they share what they do to its applications.

    Those of the simulated NPU have applications of their own and run beside all others: most of their time they wait
    for an encoder to start. (xdist's own groups, ``--dist loadgroup``, do nothing with pytest 9.)
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(NPU):
            return NPU
        return SERVICE if nodeid.startswith(SERVICE) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Give workers their tests."""
    return FilesTogether(config, log)
