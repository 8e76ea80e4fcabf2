"""What all unit tests share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve settings as on two cores, whatever this machine has: some defaults depend on it."""
    monkeypatch.setattr("deployments.shared.settings.usable_cores", lambda: 2)


@pytest.fixture(autouse=True, scope="session")
def _one_blas_thread() -> Iterator[None]:
    """Compute NumPy's products in one thread, because several workers share the cores.

    OpenBLAS' threads wait for each other by spinning: where there are more of them than cores, tests of the simulated
    NPU took three times as long.
    """
    with threadpool_limits(1, "blas"):
        yield


@pytest.fixture(autouse=True, scope="session")
def _imports_are_no_garbage() -> None:
    """Let the garbage collector leave out what was imported: faster-whisper runs it for each file that it decodes.

    It would look at the million objects of all that the tests of a worker import, which takes most of a second.
    """
    gc.collect()
    gc.freeze()
