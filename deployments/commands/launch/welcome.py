"""What the command says when the service is ready: what to do next, and who else can."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deployments.commands.configuration import Configuration
from deployments.commands.launch.addresses import is_loopback
from deployments.commands.launch.asking import health
from deployments.commands.launch.environment import command

SAMPLE: Final = Path("tests/audio/human/jfk.flac")
"""A recording to try, where the service is started in the source tree."""

BEARER: Final = " -H 'Authorization: Bearer KEY'"


def welcome(url: str, dashboard: str) -> str:
    """Return what to do next.

    Args:
        url: of the service.
        dashboard: the address of Ray's; empty if it does not run.
    """
    about = health(url)
    named = f"  (model {about['model']}, encoder on {about['device']})" if about else ""
    sample = SAMPLE if SAMPLE.is_file() else "FILE"
    lines = [
        f"ready: {url}{named}",
        *([f"note: {about['notice']}"] if about and about["notice"] else []),
        f"try:   amanuensis transcribe {sample} --url {url}{'' if about else ' --key KEY'}",
        f"       curl {url}/v1/audio/transcriptions{'' if about else BEARER} -F file=@{sample}",
        f"open:  {url}/    in a browser: a page to transcribe with",
        f"docs:  {url}/docs    statistics: {url}/stats    stop: Ctrl-C",
        *([f"Ray:   http://{dashboard}    its token: {command('ray')} get-auth-token"] if dashboard else []),
    ]
    return "\n".join(lines)


def warnings(config: Configuration) -> Iterator[str]:
    """Yield what the operator must know of who may call."""
    if is_loopback(config.host):
        return
    for name, settings in zip(config.arguments, config.settings(), strict=True):
        if settings.api_keys_file is None:
            yield (
                f"WARNING: {name} has no API keys and listens on {config.host}: everybody who reaches port "
                f"{config.port} may transcribe, read statistics and delete records of failures. Give out keys with "
                "`amanuensis keys add NAME --file FILE` and set AMANUENSIS_API_KEYS_FILE"
            )
