"""The HTTP application over scripted stages, on a real socket: uvicorn's parser in front, as in Ray Serve."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from deployments.ingress.http.routes import create_app
from tests.support.http_service import service
from tests.support.scripted_stages import ScriptedStages

Address = tuple[str, int]
"""Host and port."""

UPLOAD_TIMEOUT_S = 1.0
MAX_UPLOAD_BYTES = 2 * 2**20


@contextmanager
def serving(shared_memory: Path) -> Iterator[Address]:
    """A service that runs for as long as the context lasts, and then must hold nothing any more."""
    limits: dict[str, Any] = {"upload_timeout_s": UPLOAD_TIMEOUT_S, "max_upload_bytes": MAX_UPLOAD_BYTES}
    served = service(ScriptedStages(2), shared_memory, allowed_hosts=["*"], **limits)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(served), log_level="critical", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join()
    assert served.admission.in_use == 0, "every slot came back"
    assert served.admission.waiting == 0, "so did every place in the queue"
