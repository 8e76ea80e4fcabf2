"""Which job is next: the highest priority first, within it each client in turn, of each client the oldest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from deployments.ingress.jobs.job import StoredJob

NEVER: Final = datetime.min.replace(tzinfo=UTC)


def next_job(jobs: Sequence[StoredJob]) -> StoredJob | None:
    """Return the job whose run begins next; None where none waits.

    The turn is that of the client who has waited longest since a job of theirs was begun, so that many jobs of one
    client do not keep the others out.

    Args:
        jobs: all of them, also those that have ended.
    """
    begun: dict[str, datetime] = {}
    for stored in jobs:
        client, started = stored.job.client, stored.job.started_at or NEVER
        begun[client] = max(begun.get(client, NEVER), started)
    waiting = [stored for stored in jobs if stored.job.status == "queued"]
    return min(
        waiting,
        key=lambda stored: (stored.request.priority, begun[stored.job.client], stored.job.created_at),
        default=None,
    )
