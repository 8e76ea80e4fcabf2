"""What holds for the tests of the encoder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="session")
def one_blas_thread() -> Iterator[None]:
    """The simulator's products in one thread, because two workers share the cores.

    OpenBLAS' threads wait for each other by spinning: where there are more of them than cores, these tests took three
    times as long.
    """
    with threadpool_limits(1, "blas"):
        yield
