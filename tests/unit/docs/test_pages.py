"""What the pages say of messages and errors is what the code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from deployments.ingress.telemetry.record import OUTCOMES
from tests.support.pages import DOCS, codes, prose
from tests.support.paths import ROOT

VARIABLE = "..."
QUOTED = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
CLIENTS, TROUBLESHOOTING = DOCS / "clients.md", DOCS / "troubleshooting.md"


def texts(node: ast.AST) -> Iterator[str]:
    """Yield each text of a module; where it holds a variable, that is one character that no message has."""
    for part in ast.walk(node):
        if isinstance(part, ast.JoinedStr):
            yield "".join(str(each.value) if isinstance(each, ast.Constant) else "\0" for each in part.values)
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def source() -> str:
    """Return all texts of the service and its encoder, in small letters, one per line."""
    modules = [path for package in ("deployments", "npu_encoder") for path in (ROOT / package).rglob("*.py")]
    found = {text for path in modules for text in texts(ast.parse(path.read_text(encoding="utf-8")))}
    return "\n".join(text.replace("\n", " ").lower() for text in found)


SOURCE = source()


@pytest.mark.parametrize("message", QUOTED.findall(prose(TROUBLESHOOTING)))
def test_a_message_of_the_troubleshooting_page_is_one_of_the_code(message: str) -> None:
    parts = [part.strip() for part in message.lower().split(VARIABLE)]
    assert re.search(".*".join(map(re.escape, parts)), SOURCE), "change the page together with the message"


def test_the_page_for_clients_has_every_error_code() -> None:
    assert OUTCOMES.keys() - set(codes(CLIENTS)) == set()
