"""Speech that goes on after a window's text has ended, so that nothing spoken is lost in silence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from deployments.shared.contracts import Window

Stretches = Sequence[tuple[float, float]]

LONG_PAUSE_S: Final = 0.7
"""Pause that Whisper takes for the end of speech now and then."""

USUAL_PACE: Final = 15.5
"""Characters of text per second of speech above which a text lacks nothing, so that it need not be aligned.

Three quarters of the complete texts are denser, and no text that lacks a fifth is. A text in a script
whose characters say more never is.
"""

LEAST_REST_S: Final = 1.0
"""Seconds of speech after the end of the text that count; less is within the error of word times."""

LEAST_PIECE_S: Final = 0.4
"""Seconds of a piece of a stretch after the end of the text that count; a shorter piece belongs to the last word."""

MARGIN_S: Final = 0.2
"""Seconds kept before speech: the voice detection misses quiet consonants."""


def stretches_of(window: Window) -> Stretches:
    """Return where in the window somebody speaks: the whole window, if the voice detection did not run."""
    return ((window.start_s, window.end_s),) if window.speech is None else window.speech


def speech_s(window: Window) -> float:
    """Return the seconds of speech in the window."""
    return _seconds_after(window, window.start_s)


def may_end_early(window: Window, text: str) -> bool:
    """Return whether the text may end in a long pause: enough speech follows, and the text is short for its speech."""
    if len(text) >= USUAL_PACE * speech_s(window):
        return False
    pauses = [after[0] for before, after in pairwise(stretches_of(window)) if after[0] - before[1] >= LONG_PAUSE_S]
    return bool(pauses) and _seconds_after(window, pauses[0]) >= LEAST_REST_S


def rest_after_end(window: Window, end_s: float) -> float | None:
    """Return where the rest of a window begins if the model ended its text.

    Args:
        window: the window.
        end_s: end of the last word, in seconds from the start of the audio.

    Returns:
        Seconds from the start of the audio; None if too little speech follows.
    """
    if window.speech is None or _seconds_after(window, end_s) < LEAST_REST_S:
        return None
    unsaid = (max(start, end_s) for start, end in window.speech if end - max(start, end_s) >= LEAST_PIECE_S)
    start_s = next(unsaid, end_s)
    return _inside(window, max(end_s, start_s - MARGIN_S))


def rest_after_cut(window: Window, end_s: float) -> float | None:
    """Return where the rest of a window begins if its text was cut while somebody spoke; else as ``rest_after_end``."""
    if _seconds_after(window, end_s) < LEAST_REST_S:
        return None
    return _inside(window, end_s)


def _seconds_after(window: Window, time_s: float) -> float:
    return sum(max(0.0, end - max(start, time_s)) for start, end in stretches_of(window))


def _inside(window: Window, time_s: float) -> float | None:
    """Return the time; None if nearly the whole window would be decoded again, and perhaps again and again."""
    rounded_s = round(time_s, 3)
    return rounded_s if window.start_s + LEAST_REST_S <= rounded_s < window.end_s else None
