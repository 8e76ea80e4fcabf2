"""The shared service in a thread of the process that started the tests.

Tests that need no service run while it starts, and go on without it when the others are done: at rest it takes two
thirds of a core.
"""

from __future__ import annotations

import os
import threading
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

VARIABLE: Final = "SHARED_TEST_SERVICE"
"""Names the file in which the service tells where it is. No name with the prefix of the settings: the service stops at
one that it does not know."""


class BackgroundService:
    """Starts at once; ``stop`` has to be called."""

    def __init__(self) -> None:
        self._directory = TemporaryDirectory(prefix="amanuensis-tests-")
        self._address = Path(self._directory.name) / "service.json"
        os.environ[VARIABLE] = str(self._address)
        self._needless = threading.Event()
        self._failure = ""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def is_told(self) -> bool:
        """Whether the service is ready, or has failed to become so."""
        return self._address.exists()

    def leave(self) -> None:
        """Let the service stop: no test needs it any more. Returns at once."""
        self._needless.set()

    def stop(self) -> str:
        """Wait until the service has stopped; return what it did wrong, or nothing."""
        self.leave()
        self._thread.join()
        self._directory.cleanup()
        del os.environ[VARIABLE]
        return self._failure

    def _serve(self) -> None:
        from tests.support.shared_service import serving, tell  # noqa: PLC0415  (not where only unit tests run)

        try:
            with serving() as shared:
                tell(self._address, shared)
                self._needless.wait()
        except BaseException:  # noqa: BLE001  (whatever it is, it is the finding)
            self._failure = traceback.format_exc()
            tell(self._address, self._failure)


SERVICE: Final = pytest.StashKey[BackgroundService]()
"""Where the process that started the tests has the service."""
