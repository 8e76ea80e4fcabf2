"""A form with a file: what any server makes of it, and that the file is never in memory as a whole."""

from __future__ import annotations

import tracemalloc
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest

from deployments.commands.client.upload import CHUNK_BYTES, FormWithFile
from deployments.commands.errors import CommandError


def unheard(_sent: int, _total: int) -> None:
    """Nobody watches."""


def parts(form: FormWithFile) -> list[Message]:
    message = BytesParser().parsebytes(f"content-type: {form.content_type}\r\n\r\n".encode() + b"".join(form))
    return [part for part in message.get_payload() if isinstance(part, Message)]


@pytest.mark.parametrize("content", [b"", b"\r\n--", b"--boundary--\r\n", bytes(range(256)) * 1000])
def test_the_file_arrives_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "talk.mp3"
    path.write_bytes(content)
    fields = [("prompt", "a"), ("prompt", "b")]
    form = FormWithFile(path, fields, unheard)
    assert len(form) == len(b"".join(form))
    *others, file = parts(form)
    assert [(part.get_param("name", header="content-disposition"), part.get_payload()) for part in others] == fields
    assert file.get_param("name", header="content-disposition") == "file"
    assert file.get_payload(decode=True) == content


@pytest.mark.parametrize("name", ['a "b".mp3', "\udcff.mp3", "Äh.mp3", "a\nb.mp3"])
def test_any_name_of_a_file_can_be_sent(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"audio")
    (file,) = parts(FormWithFile(path, [], unheard))
    assert file.get_payload(decode=True) == b"audio"


def test_it_can_be_sent_again_and_tells_how_far_it_is(tmp_path: Path) -> None:
    path = tmp_path / "talk.mp3"
    path.write_bytes(b"x" * (CHUNK_BYTES + 1))
    told: list[tuple[int, int]] = []
    form = FormWithFile(path, [], lambda sent, total: told.append((sent, total)))
    assert b"".join(form) == b"".join(form)
    assert told == [(CHUNK_BYTES, CHUNK_BYTES + 1), (CHUNK_BYTES + 1, CHUNK_BYTES + 1)] * 2


def test_a_large_file_is_read_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    with path.open("wb") as file:
        file.truncate(256 * 2**20)
    form = FormWithFile(path, [], unheard)
    tracemalloc.start()
    try:
        assert sum(map(len, form)) == len(form)
        assert tracemalloc.get_traced_memory()[1] < 4 * CHUNK_BYTES
    finally:
        tracemalloc.stop()


def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    path = tmp_path / "talk.mp3"
    path.write_bytes(b"long")
    form = FormWithFile(path, [], unheard)
    path.write_bytes(b"l")
    with pytest.raises(CommandError, match="became shorter"):
        list(form)
    path.write_bytes(b"longer than before")
    assert b"longer" not in b"".join(form), "what was announced is what is sent"
    path.unlink()
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        list(form)
