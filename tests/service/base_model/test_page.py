"""The page in a real browser, over the running service and real Whisper: a file, and a voice at the microphone."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from deployments.shared.frames import SAMPLE_RATE
from tests.support.browser import Page, browsing, chromium
from tests.support.paths import AUDIO
from tests.support.service_helpers import normal, samples, wait_until

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
)

HUMAN = AUDIO / "human" / "jfk.flac"
WORDS = "ask what you can do for your country"
QUIET_S = 2.0
"""Silence before the voice, in which the session is opened."""

LONG_S = 60.0
"""Seconds of silence behind the voice: the microphone hears the file once."""


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the microphone hears."""
    path = tmp_path_factory.mktemp("microphone") / "voice.wav"
    before, behind = (np.zeros(round(seconds * SAMPLE_RATE), np.int16) for seconds in (QUIET_S, LONG_S))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.concatenate([before, samples(HUMAN), behind]).tobytes())
    return path


@pytest.fixture
def page(human: str, microphone: Path) -> Iterator[Page]:
    """The page, in which no script fails and whose policy forbids nothing that it does."""
    with browsing(microphone) as shown:
        shown.open(f"{human}/")
        yield shown
        assert shown.complaints == []


def test_a_human_voice_is_transcribed_word_by_word(page: Page) -> None:
    page.choose_files("#file", HUMAN)
    page.wait_for("!document.querySelector('#result').hidden")
    said = normal(page.evaluate("document.querySelector('#transcript').innerText"))
    assert WORDS in said
    starts = page.evaluate("[...document.querySelectorAll('.word')].map((word) => Number(word.dataset.start))")
    assert len(starts) > 15
    assert starts == sorted(starts)
    page.evaluate("document.querySelectorAll('.word')[10].click()")
    page.wait_for(f"document.querySelector('#player').currentTime > {starts[10]}")
    assert page.wait_for("document.querySelector('.lit')?.textContent")


def test_the_subtitles_are_those_of_the_service(page: Page, human: str, tmp_path: Path) -> None:
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.choose_files("#file", HUMAN)
    page.wait_for("!document.querySelector('#result').hidden")
    for suffix in ("srt", "vtt"):
        page.evaluate(
            f"[...document.querySelectorAll('#downloads button')].find((b) => b.textContent === '{suffix}').click()"
        )
        saved = tmp_path / f"jfk.{suffix}"
        wait_until(saved.is_file)
        with HUMAN.open("rb") as file:
            answer = requests.post(
                f"{human}/v1/audio/transcriptions", files={"file": file}, data={"response_format": suffix}, timeout=60
            )
        assert saved.read_bytes() == answer.content


def test_a_voice_at_the_microphone_is_written_down_while_it_speaks(page: Page) -> None:
    page.evaluate("document.querySelector('#live-tab').click()")
    page.evaluate("document.querySelector('#tell-live-speakers').click()")
    page.evaluate("document.querySelector('#listen').click()")
    said = "document.querySelector('#captions').innerText"
    page.wait_for(f"{said}.includes('country')", 60)
    assert page.evaluate("document.querySelector('#live-status').textContent") == "Listening"
    page.wait_for(f"{said}.includes('for your country')", 60)
    page.evaluate("document.querySelector('#listen').click()")
    page.wait_for("!document.querySelector('#live-result').hidden", 60)
    assert page.evaluate("document.querySelector('#live-error').hidden")
    names = set(page.evaluate("[...document.querySelectorAll('.caption .speaker')].map((name) => name.textContent)"))
    assert names == {"A"}
    assert WORDS in normal(
        " ".join(page.evaluate("[...document.querySelectorAll('.caption p')].map((p) => p.innerText)"))
    )
    page.evaluate("document.querySelector('#hand-over').click()")
    page.wait_for("!document.querySelector('#result').hidden", 60)
    assert WORDS in normal(page.evaluate("document.querySelector('#transcript').innerText"))
