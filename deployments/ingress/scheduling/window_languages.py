"""Passes the language of one request's windows on from window to window while they are worked on side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from deployments.ingress.transcript.language_choice import LanguageChoice, choose_language, is_sure
from deployments.shared.contracts import DetectedLanguage


class WindowLanguages:
    """Decides each window's language by its own detection and those before it, never by what happens to be done first.

    A window waits for earlier ones only, and only if it is doubtful itself. Windows get their slots in order, so those
    that it waits for are at work. One that fails leaves the windows behind it waiting until its error ends the request.

    Args:
        windows: of the recording.
        before: language of what was said before it; None where nobody knows.
    """

    def __init__(self, windows: int, before: str | None) -> None:
        self._before = before
        loop = asyncio.get_running_loop()
        self._after: list[asyncio.Future[str | None]] = [loop.create_future() for _ in range(windows)]

    async def choose(self, index: int, detect: Callable[[], Awaitable[DetectedLanguage]]) -> LanguageChoice:
        """Return the language for window ``index``, which ``detect`` finds out for itself."""
        detected = await detect()
        if is_sure(detected):
            self._after[index].set_result(detected.language)
            return choose_language(detected, None)
        return choose_language(detected, await self._pass_on(index))

    async def choose_for_silence(self, index: int) -> LanguageChoice | None:
        """Return the language of the windows before a silent one, which decides nothing; None where none was sure."""
        before = await self._pass_on(index)
        return LanguageChoice(before) if before is not None else None

    async def _pass_on(self, index: int) -> str | None:
        """Return the language after the window before: that of the last sure one."""
        # A waiter that is cancelled must not take the other windows' answer with it.
        before = await asyncio.shield(self._after[index - 1]) if index else self._before
        self._after[index].set_result(before)
        return before
