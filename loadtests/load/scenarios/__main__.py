"""Play the load scenarios, and judge the service by what they record.

``python -m loadtests.load.scenarios --model base --speech DIR [--short] [SCENARIO ...]``: each scenario starts a
service of its own, as a user does, unless ``--url`` names one; ``--model`` says what runs there too. First it learns
what the service says of each file alone, how long that takes, and how much the service can do with 16 clients: all load
and all limits are multiples of that. A service that does not bear this fails the scenario. Raw results go to a
directory under ``results/``; ``python -m loadtests.load.report`` makes a page of it, such as ``docs/load-tests.html``.
Exit status 1 if a criterion is not met.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from loadtests.common.client import UnansweredError
from loadtests.load.scenarios.judgement import FIGURES
from loadtests.load.scenarios.plan import Edition, Scenario, scenarios
from loadtests.load.scenarios.recording import Verdict
from loadtests.load.scenarios.runner import record, record_own_service, write_manifest
from loadtests.load.scenarios.wording import limit, measured
from loadtests.load.subject import Subject, add_subject, subject_of

NEEDS_PROCESSES = "soak"
FAILED = "**FAILED**"


def main() -> int:
    options = _options()
    edition: Edition = "short" if options.short else "full"
    chosen = [one for one in scenarios(edition) if not options.scenarios or one.name in options.scenarios]
    directory = options.output or Path("results") / f"load-{datetime.now(UTC):%Y%m%d-%H%M%S}-{edition}"
    subject = subject_of(options)
    write_manifest(directory, edition, subject)
    passed = True
    print("| scenario | criterion | limit | measured | |\n| --- | --- | --- | --- | --- |")
    for scenario in chosen:
        into = directory / scenario.name
        try:
            verdicts = _record(scenario, options.url, into, subject)
        except UnansweredError as error:
            passed = False
            print(f"| {scenario.name} | calibration with one and with 16 clients | all answered | {error} | {FAILED} |")
            continue
        passed &= all(verdict.passed for verdict in verdicts)
        print("\n".join(_row(scenario.name, verdict) for verdict in verdicts), flush=True)
    print(f"\n{'passed' if passed else 'FAILED'}; python -m loadtests.load.report {directory} makes a page of it")
    return 0 if passed else 1


def _record(scenario: Scenario, url: str | None, directory: Path, subject: Subject) -> list[Verdict]:
    if url is None:
        return record_own_service(scenario, directory, subject)
    return record(scenario, url, directory, subject)


def _options() -> argparse.Namespace:
    names = [scenario.name for scenario in scenarios("full")]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"all without a name: {', '.join(names)}")
    parser.add_argument(
        "--short", action="store_true", help="20 to 80 s each, with the looser criteria that this needs"
    )
    parser.add_argument("--url", help="of a running service; without it each scenario starts its own")
    parser.add_argument("--output", type=Path, help="directory of the run; a run may be made in pieces")
    add_subject(parser)
    options = parser.parse_args()
    unknown = set(options.scenarios) - set(names)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if options.url and (not options.scenarios or NEEDS_PROCESSES in options.scenarios):
        parser.error(f"{NEEDS_PROCESSES} weighs the service's processes, so it starts its own: name the others")
    return options


def _row(scenario: str, verdict: Verdict) -> str:
    mark = "ok" if verdict.passed else FAILED
    return f"| {scenario} | {FIGURES[verdict.figure].label} | {limit(verdict)} | {measured(verdict)} | {mark} |"


if __name__ == "__main__":
    sys.exit(main())
