"""The README and the pages of ``docs/``, as a reader finds them: pages, their links, their anchors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

README = ROOT / "README.md"
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")


def pages() -> list[Path]:
    """Return every Markdown page that a reader is led to."""
    return [README, *sorted(DOCS.glob("*.md")), ROOT / "npu_encoder" / "README.md"]


def prose(page: Path) -> str:
    """Return the text of a page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield the file and the anchor that each relative link of a page leads to."""
    for target in LINK.findall(prose(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield ((page.parent / path).resolve() if path else page), anchor


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def reachable(page: Path, clicks: int) -> set[Path]:
    """Return the files that a reader of a page gets to with so many clicks, the page itself among them."""
    found = {page}
    for _ in range(clicks):
        found |= {target for each in found if each.suffix == ".md" for target, _ in links(each)}
    return found


def codes(page: Path) -> list[str]:
    """Return what a page sets in code inside its prose."""
    return CODE.findall(prose(page))
