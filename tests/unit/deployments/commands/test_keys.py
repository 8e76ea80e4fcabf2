"""``amanuensis keys``: what it does to the file, what it prints, and its exit status."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from deployments.commands import keys
from deployments.commands.files import replace_file
from deployments.ingress.clients.key_file import Client, KeyFile, digest_of, parse_keys
from tests.support.command_line import amanuensis


@pytest.fixture
def file(tmp_path: Path) -> Path:
    ann, bob = (digest_of(key).hex() for key in ("ann's key", "bob's key"))
    path = tmp_path / "keys"
    path.write_text(f"# who may call\n\nann {ann}\n  bob {bob} operator  ", encoding="utf-8")
    path.chmod(0o600)
    return path


def run(file: Path, *arguments: str) -> int:
    return amanuensis("keys", *arguments, "--file", str(file))


def test_add_list_remove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys"
    assert run(file, "add", "ann") == 0
    ann = capsys.readouterr().out.strip()
    assert run(file, "add", "bob", "--operator") == 0
    bob = capsys.readouterr().out.strip()
    known = KeyFile(file)
    assert known.client_of(ann) == Client("ann", operator=False)
    assert known.client_of(bob) == Client("bob", operator=True)
    assert run(file, "list") == 0
    assert capsys.readouterr().out == "ann\nbob operator\n"
    assert run(file, "remove", "ann") == 0
    assert known.client_of(ann) is None
    assert known.client_of(bob)


def test_a_new_file_is_closed_and_holds_no_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys"
    run(file, "add", "ann")
    key = capsys.readouterr().out.strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(key) == 43, "256 bits"
    assert key not in file.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [file]


def test_comments_and_the_mode_survive(file: Path) -> None:
    file.chmod(0o640)
    assert run(file, "add", "carl") == 0
    assert run(file, "remove", "ann") == 0
    assert file.read_text(encoding="utf-8").startswith("# who may call\n\n  bob ")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [entry.client.name for entry in parse_keys(file.read_text(encoding="utf-8"))] == ["bob", "carl"]


def test_changes_at_the_same_time_lose_none(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change finds that another one wants to begin between its look at the file and its writing."""
    other = threading.Thread(target=keys.add, args=(file, "eve"), kwargs={"operator": False})

    def slowly(path: Path, content: bytes, *, mode: int) -> None:
        if threading.current_thread() is not other:
            other.start()
            other.join(0.3)
        replace_file(path, content, mode=mode)

    monkeypatch.setattr(keys, "replace_file", slowly)
    keys.add(file, "carl", operator=False)
    other.join()
    assert list(keys.clients(file)) == ["ann", "bob", "carl", "eve"]


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link"
    link.symlink_to(Path("..") / file.name)
    assert run(link, "add", "carl") == 0
    assert run(link, "remove", "ann") == 0
    assert link.is_symlink()
    assert list(keys.clients(file)) == ["bob", "carl"]


def test_a_link_to_a_file_that_is_not_there_yet_leads_to_it(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("keys")
    assert run(link, "add", "ann") == 0
    assert link.is_symlink()
    assert list(keys.clients(tmp_path / "keys")) == ["ann"]


@pytest.mark.parametrize(
    ("arguments", "mentions"),
    [
        (("add", "ann"), "ann has a key"),
        (("add", "a b"), "letter or digit"),
        (("add", ""), "letter or digit"),
        (("add", "anonymous"), "take another name"),
        (("remove", "carl"), "Nobody called carl"),
        (("remove", "#"), "Nobody called #"),
    ],
)
def test_what_cannot_be_done_leaves_the_file_alone(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], mentions: str
) -> None:
    before = file.read_bytes()
    assert run(file, *arguments) == 1
    output = capsys.readouterr()
    assert mentions in output.err
    assert output.out == ""
    assert file.read_bytes() == before


def test_a_file_that_the_service_would_refuse_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("broken", encoding="utf-8")
    for arguments in (("add", "carl"), ("remove", "carl"), ("list",)):
        assert run(file, *arguments) == 1
        assert "line 1" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == "broken"


def test_a_missing_directory_is_an_error_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "nowhere" / "keys", "add", "ann") == 1
    assert "No such file" in capsys.readouterr().err


def test_a_command_without_a_file_is_called_wrongly(capsys: pytest.CaptureFixture[str]) -> None:
    assert amanuensis("keys", "list") == 2
    assert "--file" in capsys.readouterr().err
