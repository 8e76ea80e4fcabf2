"""A reader who follows a link arrives, and finds every page soon."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.pages import DOCS, README, anchors, codes, links, pages, reachable
from tests.support.paths import ROOT

MOST_LINES = 120
MOST_CLICKS = 2
FOLDERS = ("deployments", "npu_encoder", "loadtests", "tests", "configs", "docs")
MODULE = re.compile(r"python -m ((?:loadtests|deployments|npu_encoder|tests)[.\w]*)")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
class TestPage:
    def test_links_lead_to_files_and_headings(self, page: Path) -> None:
        for target, anchor in links(page):
            assert target.exists(), f"{target} is not there"
            assert not anchor or anchor in anchors(target), f"{target.name} has no heading #{anchor}"

    def test_files_that_are_named_exist(self, page: Path) -> None:
        named = [code for code in codes(page) if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]+", code)]
        assert [code for code in named if not (ROOT / code).exists()] == []

    def test_modules_that_are_run_exist(self, page: Path) -> None:
        modules = MODULE.findall(page.read_text(encoding="utf-8"))
        assert [module for module in modules if find_spec(module) is None] == []


def test_the_readme_is_a_front_page() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_every_page_is_two_clicks_from_the_readme() -> None:
    found = reachable(README, MOST_CLICKS)
    assert {page for page in [*pages(), *DOCS.glob("*.html")] if page not in found} == set()


def test_the_picture_is_well_formed_and_describes_itself() -> None:
    picture = ElementTree.parse(DOCS / "graph.svg").getroot()  # noqa: S314  (our own file)
    names = {element.tag.rpartition("}")[2] for element in picture.iter()}
    assert {"title", "desc"} <= names
    assert "prefers-color-scheme: dark" in "".join(picture.itertext())
