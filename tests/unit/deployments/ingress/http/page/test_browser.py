"""The page in a real browser, over scripted stages: what a person sees and does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from deployments.commands import keys
from deployments.ingress.http.routes import create_app
from deployments.ingress.service import TranscriptionService
from deployments.shared.contracts import (
    ArrayRef,
    BlobRef,
    DecodedWindow,
    DecodeOptions,
    Ticket,
    Window,
    Word,
)
from deployments.shared.errors import InvalidAudioError
from tests.support.browser import Page, browsing, chromium
from tests.support.http_service import service, wait_until
from tests.support.listening import listening
from tests.support.paths import AUDIO
from tests.support.scripted_stages import ScriptedStages

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
)

FILE = AUDIO / "human" / "jfk.flac"
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
DONE = "!document.querySelector('#result').hidden"
FAILED = "!document.querySelector('#recording-error').hidden"


class SpokenStages(ScriptedStages):
    """Stages that know when each word was said: half a second each."""

    async def decode(
        self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
    ) -> DecodedWindow:
        decoded = await super().decode(ticket, states, window, options, pcm)
        words = decoded.transcript.text.split()
        timed = tuple(
            Word(f" {word}", window.start_s + index / 2, window.start_s + index / 2 + 0.4, 0.9)
            for index, word in enumerate(words)
        )
        return replace(decoded, transcript=replace(decoded.transcript, words=timed))


TEXTS = ["Good morning.", "<b>Hello</b> there.", "How are", "you today?"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    """A browser, for one test after the other."""
    with browsing() as page:
        yield page


@contextmanager
def opened(browser: Page, app: ASGIApp) -> Iterator[Page]:
    """The browser with the page of an application."""
    with listening(app, sockets=True) as url:
        browser.open(f"{url}/")
        yield browser
        assert browser.complaints == []
        browser.open("about:blank")


def asked(directory: Path, stages: ScriptedStages | None = None, **settings: Any) -> TranscriptionService:
    return service(stages or SpokenStages(windows=4, texts=TEXTS), directory, **settings)


@pytest.fixture
def page(browser: Page, tmp_path: Path) -> Iterator[Page]:
    """The page of a service without keys."""
    with opened(browser, create_app(asked(tmp_path))) as shown:
        yield shown


def text(page: Page, selector: str) -> str:
    return str(page.evaluate(f"document.querySelector({selector!r}).textContent")).strip()


def click(page: Page, selector: str) -> None:
    page.evaluate(f"document.querySelector({selector!r}).click()")


def is_hidden(page: Page, selector: str) -> bool:
    return bool(page.evaluate(f"document.querySelector({selector!r}).hidden"))


def focused(page: Page) -> Any:
    return page.evaluate("document.activeElement.id || document.activeElement.textContent")


def transcribe(page: Page) -> None:
    page.choose_files("#file", FILE)
    page.wait_for(f"{DONE} || {FAILED}")


def test_a_file_becomes_words_with_times(page: Page) -> None:
    transcribe(page)
    assert text(page, "#file-name") == "jfk.flac"
    segments = page.evaluate("[...document.querySelectorAll('.segment p')].map((line) => line.textContent)")
    assert segments == TEXTS
    assert page.evaluate("document.querySelectorAll('.word').length") == 8
    assert text(page, "#progress").startswith("English · 0:04 transcribed in ")


def test_a_file_may_be_dropped_anywhere(page: Page) -> None:
    click(page, "#live-tab")
    page.evaluate("""{
        const dropped = new DataTransfer();
        dropped.items.add(new File(["audio"], "dropped.mp3"));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
    }""")
    page.wait_for(DONE)
    assert text(page, "#file-name") == "dropped.mp3"
    assert (is_hidden(page, "#recording"), is_hidden(page, "#live")) == (False, True)
    page.wait_for("!document.querySelector('#unplayable').hidden")


def test_a_click_on_a_word_plays_it_and_lights_it(page: Page) -> None:
    transcribe(page)
    click(page, ".word[data-start='1.5']")
    page.wait_for("document.querySelector('#player').currentTime >= 1.5")
    assert page.wait_for("document.querySelector('.lit')?.textContent") in {"there.", "How"}


def test_the_keyboard_moves_between_segments_and_words(page: Page) -> None:
    transcribe(page)
    page.evaluate("document.querySelector('.segment button').focus()")
    for key, expected in (("ArrowDown", "0:01"), ("End", "0:03"), ("ArrowDown", "0:03"), ("ArrowUp", "0:02")):
        page.press(key)
        assert focused(page) == expected
    assert page.evaluate("document.querySelectorAll('#transcript button[tabindex=\"0\"]').length") == 1
    page.press("ArrowRight")
    page.wait_for("document.querySelector('#player').currentTime > 0.4")


def test_speakers_have_names_and_colours(page: Page) -> None:
    click(page, "#tell-speakers")
    transcribe(page)
    names = "[...document.querySelectorAll('.segment .speaker')].map((each) => each.textContent)"
    assert page.evaluate(names) == ["A", "B", "A", "B"]
    colour = "[...document.querySelectorAll('.segment .speaker')].map((each) => getComputedStyle(each).color)"
    first, second, third, _ = page.evaluate(colour)
    assert first == third != second
    assert page.evaluate("[...document.querySelectorAll('#speakers li')].map((each) => each.textContent)") == [
        "A0:01",
        "B0:01",
    ]


def test_the_text_is_saved_in_every_format(page: Page, tmp_path: Path) -> None:
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    transcribe(page)
    for suffix in ("txt", "srt", "vtt", "json"):
        page.evaluate(
            f"[...document.querySelectorAll('#downloads button')].find((b) => b.textContent === '{suffix}').click()"
        )
        saved = tmp_path / f"jfk.{suffix}"
        wait_until(saved.is_file)
        assert "there." in saved.read_text(encoding="utf-8")


def test_the_progress_of_a_long_file_is_shown_and_it_can_be_cancelled(browser: Page, tmp_path: Path) -> None:
    may_go_on = threading.Event()

    async def wait_behind_the_first(index: int) -> None:
        if index > 0:
            await asyncio.to_thread(may_go_on.wait)

    serving = asked(tmp_path, SpokenStages(windows=4, texts=TEXTS, delay=wait_behind_the_first))
    with opened(browser, create_app(serving)) as page:
        page.choose_files("#file", FILE)
        page.wait_for("document.querySelector('#progress').textContent === 'Transcribed 0:01 of 0:04'")
        assert page.evaluate("document.querySelector('#progress-bar').value") == 0.25
        assert text(page, "#partial") == "Good morning."
        page.evaluate("document.querySelector('#cancel').focus()")
        click(page, "#cancel")
        wait_until(lambda: serving.statistics.failures == {"client_closed_request": 1})
        assert text(page, "#progress") == "The transcription is not complete"
        assert focused(page) == "again"
        may_go_on.set()
        click(page, "#again")
        page.wait_for(DONE)


def test_an_error_is_told_as_the_service_words_it(browser: Page, tmp_path: Path) -> None:
    class Rejecting(SpokenStages):
        async def prepare(self, *_: object) -> Any:
            raise InvalidAudioError("The file holds no audio; send one that does")

    with opened(browser, create_app(asked(tmp_path, Rejecting()))) as page:
        transcribe(page)
        assert text(page, "#recording-error") == "The file holds no audio; send one that does. (invalid_audio)"
        assert page.evaluate("document.querySelector('#recording-error').getAttribute('role')") == "alert"


def test_an_upload_that_is_too_large_is_told(browser: Page, tmp_path: Path) -> None:
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(3_000_000))
    (tmp_path / "shm").mkdir()
    with opened(browser, create_app(asked(tmp_path / "shm", max_upload_bytes=1_000_000))) as page:
        page.choose_files("#file", large)
        page.wait_for(FAILED)
        assert "(payload_too_large)" in text(page, "#recording-error")


def test_a_key_is_asked_for_kept_in_the_tab_and_forgotten(browser: Page, tmp_path: Path) -> None:
    key = keys.add(tmp_path / "keys", "ann", operator=False)
    (tmp_path / "shm").mkdir()
    with opened(browser, create_app(asked(tmp_path / "shm", api_keys_file=str(tmp_path / "keys")))) as page:
        page.wait_for("document.querySelector('#key-dialog').open")
        use_key(page, "wrong")
        page.wait_for("!document.querySelector('#key-error').hidden")
        assert "(invalid_api_key)" in text(page, "#key-error")
        use_key(page, key)
        page.wait_for("!document.querySelector('#key-dialog').open")
        page.wait_for("document.querySelector('#recording-language').length > 1")
        transcribe(page)
        assert page.evaluate(DONE)
        page.wait_for("document.querySelector('#activity-hint').textContent.startsWith('An operator')", 20)
        assert is_hidden(page, "#figures")
        assert not is_hidden(page, "#facts")
        assert page.evaluate("[Object.values({...sessionStorage}), localStorage.length, document.cookie]") == [
            [key],
            0,
            "",
        ]
        click(page, "#key-button")
        click(page, "#key-forget")
        assert page.evaluate("sessionStorage.length") == 0


def use_key(page: Page, key: str) -> None:
    page.evaluate(f"document.querySelector('#key').value = '{key}'")
    click(page, "#key-form .primary")


def test_what_the_service_does_is_shown(page: Page) -> None:
    page.wait_for("document.querySelectorAll('#stages li').length === 3")
    assert text(page, "#health") == "Ready"
    assert text(page, "#fact-device") == "cpu:test"
    assert page.evaluate("document.querySelectorAll('#slots span').length") > 0


def test_tabs_are_those_of_the_keyboard(page: Page) -> None:
    page.evaluate("document.querySelector('#recording-tab').focus()")
    page.press("ArrowRight")
    assert focused(page) == "live-tab"
    assert (is_hidden(page, "#recording"), is_hidden(page, "#live")) == (True, False)
    assert page.evaluate("document.querySelector('#live-tab').getAttribute('aria-selected')") == "true"


def test_speech_is_written_down_and_can_be_stopped(page: Page) -> None:
    click(page, "#live-tab")
    click(page, "#listen")
    page.wait_for("document.querySelector('#live-status').textContent === 'Listening'")
    page.wait_for("document.querySelector('#live-time').textContent >= '0:01'")
    click(page, "#listen")
    page.wait_for("document.querySelector('#live-status').textContent === 'The microphone is off'")
    assert is_hidden(page, "#live-error")


SHOWN = """import("./page/caption_list.js").then(({ CaptionList }) => {
    const area = document.querySelector("#captions");
    area.classList.add("with-speakers");
    const list = new CaptionList(area);
    list.show({ id: "a", state: "speaking", start: 0, text: "So", added: "So" });
    const no = [{ speaker: "B", text: "No." }];
    list.show({ id: "b", state: "done", start: 1, text: "No.", added: "No.", segments: no });
    const segments = [["A", "So it"], ["A", "is."], ["B", "Is it?"]].map(([speaker, text]) => ({ speaker, text }));
    list.show({ id: "a", state: "done", start: 0, text: "So it is. Is it?", added: "", segments });
    return [...area.querySelectorAll(".caption")].map((row) => ({
        text: row.querySelector("p").textContent,
        names: [...row.querySelectorAll(".speaker")].map((name) => [name.textContent, getComputedStyle(name).color]),
    }));
})"""


def test_captions_name_in_colour_who_speaks(page: Page) -> None:
    click(page, "#live-tab")
    both, one = page.evaluate(SHOWN)
    assert both["text"] == "So it is. B Is it?"
    assert one["text"] == "No."
    (first, colour), (second, other) = both["names"]
    assert (first, second) == ("A", "B")
    assert colour != other
    assert one["names"] == [["B", other]]


def test_speakers_are_told_apart_at_the_microphone_where_that_is_wanted(page: Page) -> None:
    click(page, "#live-tab")
    page.evaluate(
        "globalThis.sent = []; WebSocket.prototype.send = (send => function (data) { sent.push(data); "
        "return send.call(this, data); })(WebSocket.prototype.send)"
    )
    for wanted in (False, True):
        page.wait_for("!document.querySelector('#listen').disabled")
        click(page, "#listen")
        page.wait_for("document.querySelector('#live-status').textContent === 'Listening'")
        assert page.evaluate("document.querySelector('#tell-live-speakers').disabled")
        (update,) = page.evaluate("sent.splice(0).filter((data) => typeof data === 'string')")
        assert ("speakers" in update) is wanted
        click(page, "#listen")
        page.wait_for("document.querySelector('#live-status').textContent === 'The microphone is off'")
        page.evaluate("sent.length = 0")
        click(page, "#tell-live-speakers")


def test_a_session_that_is_refused_says_why(browser: Page, tmp_path: Path) -> None:
    with opened(browser, create_app(asked(tmp_path, max_live_sessions=0))) as page:
        click(page, "#live-tab")
        click(page, "#listen")
        page.wait_for("!document.querySelector('#live-error').hidden")
        assert text(page, "#live-error").startswith("The service did not open a live session")
        assert text(page, "#live-status") == "The microphone is off"


def test_a_session_that_the_service_ends_says_why(browser: Page, tmp_path: Path) -> None:
    with opened(browser, create_app(asked(tmp_path, max_live_session_s=1))) as page:
        click(page, "#live-tab")
        click(page, "#listen")
        page.wait_for("!document.querySelector('#live-error').hidden")
        assert "(session_expired)" in text(page, "#live-error")
        page.wait_for("document.querySelector('#live-status').textContent === 'The microphone is off'")
        assert not page.evaluate("document.querySelector('#listen').disabled")


@pytest.mark.parametrize("tab", ["#recording-tab", "#live-tab"])
def test_a_phone_shows_all_of_it(page: Page, tab: str) -> None:
    page.call("Emulation.setDeviceMetricsOverride", **PHONE)
    transcribe(page)
    click(page, tab)
    width = page.evaluate("document.documentElement.scrollWidth")
    page.call("Emulation.clearDeviceMetricsOverride")
    assert width <= PHONE["width"]


def test_every_control_can_be_told_by_a_screen_reader(page: Page) -> None:
    transcribe(page)
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "tab", "combobox", "checkbox", "textbox", "progressbar", "log", "tabpanel")
    shown = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
    assert len(shown) > 10
    assert [node for node in shown if not node["name"]["value"]] == []
