"""Pictures of the page for the documentation, out of a running service.

``python -m tests.support.page_pictures http://localhost:9000 FILE`` gives it a wav file of two people who talk, once as
a file and once at the microphone, and writes ``docs/page.png`` and ``docs/page-live.png``.
"""

from __future__ import annotations

import sys
import tempfile
import time
import wave
from pathlib import Path

from tests.support.browser import Page, browsing
from tests.support.paths import ROOT

SIZE = {"width": 1120, "height": 760, "deviceScaleFactor": 1, "mobile": False}
SECONDS_OF_SPEECH = 16
PLAYED_WORD = 19
QUIET_S = 60
PATIENCE_S = 120.0
DOCS = ROOT / "docs"


def main(url: str, recording: Path) -> None:
    """Write both pictures."""
    with tempfile.TemporaryDirectory() as directory:
        microphone = Path(directory) / "microphone.wav"
        with_silence(recording, microphone)
        with browsing(microphone, "--hide-scrollbars") as page:
            show(page, url)
            page.evaluate("document.querySelector('#tell-speakers').click()")
            page.choose_files("#file", recording)
            page.wait_for("!document.querySelector('#result').hidden", PATIENCE_S)
            page.evaluate(f"document.querySelectorAll('.word')[{PLAYED_WORD}].click()")
            time.sleep(0.5)
            (DOCS / "page.png").write_bytes(page.picture())
            show(page, url)
            page.evaluate("document.querySelector('#live-tab').click()")
            page.evaluate("document.querySelector('#tell-live-speakers').click()")
            page.evaluate("document.querySelector('#listen').click()")
            time.sleep(SECONDS_OF_SPEECH)
            (DOCS / "page-live.png").write_bytes(page.picture())


def show(page: Page, url: str) -> None:
    """Open the page, and wait until it knows what the service does."""
    page.call("Emulation.setDeviceMetricsOverride", **SIZE)
    page.open(f"{url}/")
    page.wait_for(
        "document.querySelectorAll('#stages li').length === 3 && document.querySelectorAll('option').length > 2"
    )


def with_silence(recording: Path, longer: Path) -> None:
    """Write a recording with silence behind it: the microphone hears its file once."""
    with wave.open(str(recording), "rb") as source, wave.open(str(longer), "wb") as target:
        target.setparams(source.getparams())
        target.writeframes(source.readframes(source.getnframes()))
        target.writeframes(bytes(QUIET_S * source.getframerate() * source.getsampwidth() * source.getnchannels()))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())
