"""List, fetch and show models.

A NAME is a size name such as "base", a hub id (owner/name), or a directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from deployments.commands.errors import CommandError
from deployments.commands.tuning.command import command as tune_command
from deployments.shared.model.cache import cached_path, model_cache
from deployments.shared.model.description import Model, describe, read_vocabulary
from deployments.shared.model.files import sha256
from deployments.shared.model.finding import find, is_directory, resolve, source_of
from deployments.shared.model.hub import hub_snapshot
from deployments.shared.model.packages import installed_packages
from deployments.shared.model.sources import SIZES, Source
from deployments.shared.settings import Settings
from npu_encoder.model_file import ModelFile
from npu_encoder.weights import MODEL_FILE


@click.group(help=__doc__)
def command() -> None:
    """Leave the work to the commands below."""


@command.command("list")
def list_command() -> None:
    """List the known sizes, and what of them is on this machine."""
    _say(table())


@command.command("pull")
@click.argument("name")
def pull_command(name: str) -> None:
    """Fetch a model into the cache, check it, and print its directory."""
    click.echo(resolve(name, Settings.resolve({}).hub_token))


@command.command("show")
@click.argument("name", required=False)
def show_command(name: str | None) -> None:
    """Show path, checksums, dimensions and languages of a model on this machine.

    Without NAME it is the model that the service would serve.
    """
    _say(facts(name or Settings.resolve({}).whisper_model))


command.add_command(tune_command)


def table() -> Iterator[str]:
    """Yield one line per known size and per other model in the cache: its name, repository and place."""
    for source in SIZES.values():
        pinned = "pinned  " if source.sums else "        "
        yield f"{source.name:<18}{source.repository:<46}{pinned}{_place(source)}"
    others = sorted(model_cache().glob("[!.]*")) if model_cache().is_dir() else []
    for path in others:
        if path.name not in SIZES:
            yield f"{path.name:<18}{path.name.replace('--', '/', 1):<46}        {path}"


def facts(name: str) -> Iterator[str]:
    """Yield what is known of a model that is on this machine, one fact per line.

    Raises:
        CommandError: it is not on this machine.
        ConfigurationError: its files are incomplete, wrong or malformed.
    """
    path = find(name)
    if path is None:
        raise CommandError(f"{name} is not on this machine; fetch it: amanuensis model pull {name}")
    model = describe(path, Path(name).name)
    dimensions = model.dimensions
    yield f"name           {model.name}"
    yield f"path           {path}"
    yield f"checksums      {_checksums(name, path)}"
    yield f"mel bins       {dimensions.n_mels}"
    yield f"width          {dimensions.d_model}, {dimensions.n_heads} heads"
    yield f"layers         {dimensions.n_layers} of the encoder, {_decoder_layers(path)} of the decoder"
    yield f"vocabulary     {len(read_vocabulary(path))} tokens"
    yield f"languages      {_languages(model)}"
    yield f"audio context  {model.audio_context}, windows of {model.max_window_s:g} s at most"


def _place(source: Source) -> str:
    if cached_path(source).is_dir():
        return str(cached_path(source))
    if installed_packages(source):
        return "in installed packages"
    snapshot = hub_snapshot(source)
    return "-" if snapshot is None else str(snapshot)


def _checksums(name: str, path: Path) -> str:
    if not is_directory(name) and source_of(name).sums:
        return "all files have their pinned SHA-256"
    return f"not pinned, the files are complete; {MODEL_FILE} has the SHA-256 {sha256(path / MODEL_FILE)}"


def _decoder_layers(path: Path) -> int:
    count = 0
    with ModelFile(path / MODEL_FILE) as file:
        while f"decoder/layer_{count}/self_attention/linear_0/weight" in file:
            count += 1
    return count


def _languages(model: Model) -> str:
    kind = "multilingual" if model.multilingual else "English-only model: no detection, no translation"
    return f"{len(model.languages)} ({kind}): {' '.join(model.languages)}"


def _say(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)
