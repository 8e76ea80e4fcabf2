"""Probes the encoder once a second: whether it answers, what computes, how fast."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from deployments.ingress.periodic import repeat
from deployments.shared.contracts import EncoderHealth
from deployments.shared.errors import AmanuensisError

PROBE_TIMEOUT_S = 2.0
PROBE_PERIOD_S = 1.0


class EncoderWatch:
    """Knows the encoder's latest answer.

    Args:
        probe: asks the encoder.

    Attributes:
        health: the answer to the latest probe; None if there was none.
    """

    def __init__(self, probe: Callable[[], Awaitable[EncoderHealth]]) -> None:
        self.health: EncoderHealth | None = None
        self._probe = probe

    @property
    def works(self) -> bool:
        """Whether the encoder answered the latest probe, and can encode."""
        return self.health is not None and self.health.status != "failed"

    @property
    def device(self) -> str | None:
        """The encoder's device; None if it did not answer the latest probe."""
        return self.health.device if self.health else None

    async def run(self, on_answer: Callable[[EncoderHealth], None], on_recovery: Callable[[], None]) -> None:
        """Probe until cancelled.

        Args:
            on_answer: is called with each answer.
            on_recovery: is called when the encoder works and did not before.
        """

        async def probe_once() -> None:
            worked = self.works
            await self._ask()
            if self.works and not worked:
                on_recovery()
            if self.health is not None:
                on_answer(self.health)

        await repeat(probe_once, PROBE_PERIOD_S, "The health probe")

    async def _ask(self) -> None:
        health = None
        try:
            health = await asyncio.wait_for(self._probe(), PROBE_TIMEOUT_S)
        except (AmanuensisError, TimeoutError):
            pass
        finally:
            self.health = health  # None also where nobody foresaw what came: an old answer would be taken for a new one
