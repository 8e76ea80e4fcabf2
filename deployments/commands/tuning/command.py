"""The command `amanuensis model tune`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deployments.commands.errors import CommandError
from deployments.shared.model.finding import resolve
from deployments.shared.model.silence import SilenceDescription
from deployments.shared.settings import Settings
from npu_encoder.silence import SILENCE_FILE

if TYPE_CHECKING:
    from deployments.commands.tuning.tune import Taken


@click.command("tune")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", help="Size name, hub id or directory; the model that the service would serve.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Files of FOLDER to leave out, such as 'test/*'.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Instead of beside the model.")
@click.option("--precision", default="auto", show_default=True, help="Precision of the encoder meanwhile.")
def command(folder: Path, model: str | None, exclude: tuple[str, ...], output: Path | None, precision: str) -> None:
    """Make short windows cheap for a model, with the speech in FOLDER.

    Whisper encodes 30 s for every window, however short its speech is. This measures what the model makes of the
    silence behind speech, so that the service need not compute it: audio_context "auto" then encodes the speech alone,
    where a check on recordings that were not measured has passed. Needs a hundred recordings of several voices, in any
    language, and some minutes. No transcripts are needed.
    """
    # Imported here because both models' libraries take a second, and the other commands need neither.
    from deployments.commands.tuning.recordings import find_recordings  # noqa: PLC0415
    from deployments.commands.tuning.tune import tune  # noqa: PLC0415

    settings = Settings.resolve({})
    path = resolve(model or settings.whisper_model, settings.hub_token)
    target = output or path / SILENCE_FILE
    description = tune(path, find_recordings(folder, exclude), target, precision=precision, progress=_progress)
    for line in summary(description):
        click.echo(line)
    click.echo(target)
    if not description.passed:
        raise CommandError("The check has failed: audio_context 'auto' goes on encoding 30 s for every window")


def summary(description: SilenceDescription) -> Iterable[str]:
    """Yield what was measured, one fact per line."""
    yield f"averaged       {description.windows} windows of {description.recordings} recordings"
    yield f"checked        {description.checked_windows} windows of other recordings"
    yield f"lost           {description.lost_nats:.4f} nats per token of the full window's text"
    yield f"to be repeated {100 * description.not_good:.1f}% of the windows"
    yield f"passed         {'yes' if description.passed else 'no'}"


def _progress(windows: Taken, count: int) -> Taken:
    with click.progressbar(windows, length=count, label="Encoding full windows") as shown:
        yield from shown
