"""Reading how often the service's breakers have opened."""

from __future__ import annotations

import aiohttp

SERIES = "amanuensis_breaker_openings_total{"


async def breaker_openings(session: aiohttp.ClientSession, url: str) -> int:
    """Return the sum over all stages since the service started, from ``/metrics``.

    Raises:
        aiohttp.ClientResponseError: the service does not show its metrics.
    """
    async with session.get(f"{url}/metrics") as answer:
        answer.raise_for_status()
        return openings_in(await answer.text())


def openings_in(metrics: str) -> int:
    """Return the same from the text of ``/metrics``."""
    return round(sum(float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith(SERIES)))
