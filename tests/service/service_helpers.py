"""What the service tests share beside the running service."""

from __future__ import annotations

from pathlib import Path

from openai import OpenAI

ROOT = Path(__file__).parents[2]
AUDIO = ROOT / "tests" / "audio"
MAX_UPLOAD_BYTES = 4 * 2**20


def client_of(base_url: str) -> OpenAI:
    """The official client, pointed at our service."""
    return OpenAI(base_url=f"{base_url}/v1", api_key="unused", max_retries=0, timeout=60)
