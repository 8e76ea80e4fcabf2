"""The page's modules that need no browser, run by Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deployments.ingress.http.page.serving import STATIC

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="Node is not installed (Debian: apt-get install nodejs)")


class Scripts:
    """A copy of the modules that Node takes for modules.

    Args:
        directory: an empty one.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        for path in STATIC.glob("*.js"):
            shutil.copy(path, directory)
        (directory / "package.json").write_text('{"type": "module"}', encoding="utf-8")

    def run(self, module: str, expression: str, given: object = None) -> Any:
        """Return the value of an expression about a module.

        Args:
            module: its name; all that it exports can be used.
            expression: in JavaScript, with ``await`` if need be; ``given`` is the value below.
            given: as JSON.
        """
        assert NODE is not None
        program = (
            f'import * as page from "./{module}";'
            f"const given = {json.dumps(given)};"
            f"const found = await ((page, given) => {expression})(page, given);"
            "process.stdout.write(JSON.stringify(found) ?? 'null');"
        )
        ran = subprocess.run(
            [NODE, "--input-type=module", "--eval", program],
            cwd=self._directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)
