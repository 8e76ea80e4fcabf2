"""A process that runs the jobs of a directory and is killed by the first one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from deployments.ingress.jobs.job import StoredJob
from deployments.ingress.jobs.kept_response import KeptResponse
from deployments.ingress.jobs.runner import Report
from tests.support.jobs import runner_of, runs, store_in


async def kills(_job: StoredJob, _audio: bytes, _report: Report) -> KeptResponse:
    """Die as by the kernel's hand, in the middle of the work."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


async def main(directory: Path) -> None:
    """Run the jobs until one of them kills this."""
    async with runs(runner_of(store_in(directory)), kills):
        await asyncio.sleep(10)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
