"""Make one HTML page of the raw results of the load scenarios.

``python -m loadtests.load.report RUN [OTHER_RUN] -o page.html``: the page needs no other file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from loadtests.load.report.page import page
from loadtests.load.report.run import read_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="directory that python -m loadtests.load.scenarios wrote")
    parser.add_argument("other", type=Path, nargs="?", help="a run to compare it with")
    parser.add_argument("-o", "--output", type=Path, default=Path("results/load-tests.html"))
    options = parser.parse_args()
    html = page(read_run(options.run), read_run(options.other) if options.other else None)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(html, encoding="utf-8")
    sys.stdout.write(f"{options.output}: {len(html.encode()) / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
