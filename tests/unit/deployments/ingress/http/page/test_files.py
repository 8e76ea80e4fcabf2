"""The files of the page fit together: what one names is there, nothing comes from elsewhere, and all can be read."""

import re
from collections import Counter
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pytest

from deployments.ingress.http.page.serving import STATIC

HTML = (STATIC / "index.html").read_text(encoding="utf-8")
CSS = "".join(path.read_text(encoding="utf-8") for path in sorted(STATIC.glob("*.css")))
SCRIPTS = sorted(STATIC.glob("*.js"))
FILES = sorted(STATIC.iterdir())
IDS = re.findall(r'\bid="([^"]+)"', HTML)

NAMESPACE = "http://www.w3.org/2000/svg"
"""The name of a format, which nobody fetches."""

LIGHT, DARK = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
GROUNDS = ("ground", "surface", "sunken")
READ_ON = [
    *product(("text", "muted", "accent", *(f"speaker-{number}" for number in range(1, 9))), GROUNDS),
    ("on-button", "button"),
    ("text", "accent-soft"),
    *((name, f"{name}-soft") for name in ("good", "warning", "danger")),
    ("danger", "sunken"),
]
"""Pairs of a text and what it stands on."""

ENOUGH, ENOUGH_FOR_EDGES = 4.5, 3.0
"""The contrasts that WCAG's level AA asks for, of texts and of what shows where a control is."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace(NAMESPACE, "")
    assert re.findall(r"(?:https?:|wss?:|data:)?//[\w.-]+\.\w+|@import|url\(", text) == []


def test_nothing_in_the_page_needs_a_weaker_policy() -> None:
    assert re.findall(r'<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc="page/)|javascript:', HTML) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_text_becomes_markup_or_code(script: Path) -> None:
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function|document\.write"
    assert re.findall(markup, read(script)) == []


def test_every_file_that_is_named_is_there_and_every_file_is_named() -> None:
    named = set(re.findall(r'"page/([^"]+)"', HTML))
    for script in SCRIPTS:
        named |= set(re.findall(r'from "\./([^"]+)"', read(script)))
        named |= set(re.findall(r'new URL\("([\w.]+\.js)"', read(script)))
    assert named == {path.name for path in FILES} - {"index.html"}


def test_what_a_module_imports_another_one_exports() -> None:
    for script in SCRIPTS:
        for names, other in re.findall(r'import \{([^}]*)\} from "\./([^"]+)"', read(script)):
            exported = re.findall(
                r"^export (?:async )?(?:function|class|const) (\w+)", read(STATIC / other), re.MULTILINE
            )
            assert {name.strip() for name in names.split(",")} - {""} <= set(exported), (script.name, other)


def test_every_id_is_there_once() -> None:
    assert [name for name, times in Counter(IDS).items() if times > 1] == []
    used = {name for script in SCRIPTS for name in re.findall(r'byId\("([^"]+)"\)', read(script))}
    referred = set(re.findall(r'\b(?:for|aria-controls)="([^"]+)"', HTML))
    referred |= words_of(re.findall(r'\baria-(?:labelledby|describedby)="([^"]+)"', HTML))
    referred |= set(re.findall(r'href="#([^"]+)"', HTML)) | set(re.findall(r"#([a-z][\w-]*) ?[{>,]", CSS))
    assert used
    assert (used | referred) - set(IDS) == set()


def test_every_control_has_a_name() -> None:
    labelled = set(re.findall(r'<label[^>]*\sfor="([^"]+)"', HTML))
    for tag, attributes in re.findall(r"<(input|select|audio|textarea|progress)\b([^>]*)>", HTML):
        found = re.search(r'\bid="([^"]+)"', attributes)
        assert found, tag
        assert found[1] in labelled or "aria-label" in attributes, found[1]
    assert all(text.strip() for text in re.findall(r"<button[^>]*>(.*?)</button>", HTML, re.DOTALL))


def test_every_class_that_a_script_or_the_page_uses_has_a_look() -> None:
    used = words_of(re.findall(r'\bclass(?:Name)?[=:] ?"([^"]+)"', HTML + "".join(map(read, SCRIPTS))))
    assert used - set(re.findall(r"\.([a-z][\w-]*)", CSS)) == set()


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), READ_ON)
def test_every_text_stands_out(scheme: str, text: str, ground: str) -> None:
    assert contrast(colour(scheme, text), colour(scheme, ground)) >= ENOUGH


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["surface", "sunken"])
def test_the_edges_of_fields_can_be_seen(scheme: str, ground: str) -> None:
    assert contrast(colour(scheme, "edge"), colour(scheme, ground)) >= ENOUGH_FOR_EDGES


def words_of(values: Iterable[str]) -> set[str]:
    """Return the words of all values of an attribute."""
    return {word for value in values for word in value.split()}


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def colour(scheme: str, name: str) -> str:
    found = re.search(rf"--{name}: #([0-9a-f]{{6}});", scheme)
    assert found, name
    return found[1]


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, as WCAG defines it."""
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[first : first + 2], 16) / 255 for first in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
