"""Failures for tests: any moment, any size."""

from datetime import UTC, datetime, timedelta
from typing import Any

from deployments.ingress.failures.record import Failure, new_id

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
AUDIO = bytes(range(256)) + b"\n\r\n"


def failure(second: int = 0, *, audio: bytes | None = None, **changes: Any) -> Failure:
    """A failure ``second`` seconds after the first; with ``audio``, a record that says it is kept."""
    time = EPOCH + timedelta(seconds=second)
    fields: dict[str, Any] = {
        "id": new_id(time),
        "request_id": f"request-{second}",
        "client": "anonymous",
        "time": time,
        "stage": "stage2_encoder",
        "status": 504,
        "code": "stage_timeout",
        "message": "too late",
        "received": EPOCH,
        "waited_s": 0.5,
        "failed_after_s": float(second),
        "timeout_s": 60.0,
        "task": "transcribe",
        "priority": "normal",
        "parameters": {"response_format": "json", "temperature": 0.0, "prompt": "Düsseldorf,\r\nKöln"},
        "audio_bytes": 100 if audio is None else len(audio),
        "audio_suffix": ".wav",
        "audio_kept": audio is not None,
        "replay_of": None,
    }
    return Failure(**{**fields, **changes})
