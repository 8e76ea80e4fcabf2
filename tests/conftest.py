"""What holds for all tests.

Several workers share the cores (``pytest --numprocesses``), so each computes with one thread: OpenBLAS' threads wait
for each other by spinning, and where there are more of them than cores they do little else.
"""

from __future__ import annotations

import os

ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    import numpy  # noqa: F401  (reads the variables)

    for variable in ONE_THREAD:
        del os.environ[variable]  # what a test starts is not to inherit them
