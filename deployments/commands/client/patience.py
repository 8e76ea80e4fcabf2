"""Asks again where the service says that it can be asked later."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from deployments.commands.client.service import ServiceError

TRIES = 5
WAIT_S = 5.0
"""Where the service, or a proxy before it, does not say how long to wait."""

Answer = TypeVar("Answer")


def ask_patiently(ask: Callable[[], Answer], tell: Callable[[str], None]) -> Answer:
    """Return the answer of ``ask``, which is called again when the service has refused it for the moment.

    Args:
        ask: asks the service.
        tell: gets one sentence before each time of waiting.

    Raises:
        ServiceError: it was refused too often, or for good.
    """
    for _ in range(TRIES - 1):
        try:
            return ask()
        except ServiceError as error:
            if not error.may_pass:
                raise
            wait_s = WAIT_S if error.retry_after_s is None else error.retry_after_s
            tell(f"{error}. Trying again in {wait_s:g} s.")
            time.sleep(wait_s)
    return ask()
