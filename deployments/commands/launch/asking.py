"""Asking the service how it is, by HTTP, as this machine reaches it."""

from __future__ import annotations

from typing import Any, Final

import requests

ANSWER_S: Final = 2.0
UNAUTHORIZED: Final = 401


def get(url: str) -> requests.Response:
    """Return the answer of a service on this machine, whatever proxies the environment names.

    Raises:
        requests.RequestException: there is none, or none in ``ANSWER_S``.
    """
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=ANSWER_S)


def why_not_ready(url: str) -> str | None:
    """Return why an application takes no requests; None if it does.

    Args:
        url: of the application.
    """
    try:
        answer = get(f"{url}/health/ready")
        document = answer.json()
        if answer.ok and document["status"] == "ready":
            return None
        return str(document.get("reason") or document["status"])
    except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError):
        return "it does not answer"


def health(url: str) -> dict[str, Any] | None:
    """Return what the service says of itself; None where that needs an API key, or cannot be had at the moment."""
    try:
        answer = get(f"{url}/health")
        document: dict[str, Any] = answer.json()
    except (requests.RequestException, ValueError):
        return None
    return document if answer.status_code != UNAUTHORIZED and "model" in document else None
