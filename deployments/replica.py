"""What a replica knows of itself."""

from __future__ import annotations

from ray import serve


def replica_name() -> str:
    """Serve's id of this replica, unique in the application."""
    return str(serve.get_replica_context().replica_id.unique_id)
