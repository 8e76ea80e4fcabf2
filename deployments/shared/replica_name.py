"""The name of the replica that this process runs."""

from __future__ import annotations

from ray import serve


def replica_name() -> str:
    """Return Serve's id of this replica, unique in the application."""
    return str(serve.get_replica_context().replica_id.unique_id)
