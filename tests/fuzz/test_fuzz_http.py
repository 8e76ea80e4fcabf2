"""Requests made from the OpenAPI document, right and wrong ones: every answer is one that the document names.

docs/security.md has the same command for a running service.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.fuzz.http_server import Address, serving

COMMAND = Path(sys.executable).with_name("schemathesis")
# Which fields may stand together, which languages the model knows, and that unknown headers and fields harm nothing,
# OpenAPI has no words for.
UNDECIDABLE = "positive_data_acceptance,negative_data_rejection"
# A timeout that nobody can keep is answered with 504, as it should be, and that is taken for a fault.
CONFIGURATION = '[parameters]\n"header.x-timeout-seconds" = "60"\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with serving(tmp_path_factory.mktemp("shm")) as address:
        yield address


def test_every_answer_is_documented(server: Address, tmp_path: Path) -> None:
    host, port = server
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    options = ["--exclude-checks", UNDECIDABLE, "--seed", "1", "--max-examples", "8", "--continue-on-failure"]
    run = subprocess.run(
        [str(COMMAND), "run", f"http://{host}:{port}/openapi.json", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        cwd=tmp_path,  # it leaves a cache behind
    )
    assert run.returncode == 0, run.stdout + run.stderr
    statistics = requests.get(f"http://{host}:{port}/stats", timeout=5).json()
    assert statistics["requests"]["answered"] > 10, "the right ones must be answered"
    assert statistics["requests"]["failed"]["invalid_request"] > 100, "and the wrong ones refused"
