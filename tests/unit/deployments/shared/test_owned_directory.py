"""Private directories: what a killed owner left is removed, and nothing else ever is."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.shared.owned_directory import DirectoryKind, OwnedDirectory, remove_stale

KIND = DirectoryKind("owned-", re.compile(r"notes|sockets(/\w+\.sock)?"))

OWNER = """
import os, re, sys
from pathlib import Path
from deployments.shared.owned_directory import DirectoryKind, OwnedDirectory
directory = OwnedDirectory.create(Path(sys.argv[1]), DirectoryKind("owned-", re.compile("notes")))
(directory.path / "notes").write_text("mine")
print(directory.path, flush=True)
os.kill(os.getpid(), 9)
"""


def left_behind(base: Path) -> Path:
    """The directory of an owner that has died: the kernel has closed its lock."""
    directory = OwnedDirectory.create(base, KIND)
    (directory.path / "notes").write_text("mine")
    os.close(directory._lock)
    return directory.path


def test_a_directory_is_private_and_leaves_nothing_behind(tmp_path: Path) -> None:
    directory = OwnedDirectory.create(tmp_path, KIND)
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    directory.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_owner_left_is_removed_and_what_lives_is_left_alone(tmp_path: Path) -> None:
    living = OwnedDirectory.create(tmp_path, KIND)
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    stale = Path(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())
    assert {each.name for each in stale.iterdir()} == {"lock", "notes"}
    (stale / "sockets").mkdir()
    (stale / "sockets" / "admin.sock").touch()
    remove_stale(tmp_path, KIND)
    assert list(tmp_path.iterdir()) == [living.path]
    living.remove()


@pytest.mark.parametrize("entry", ["interview.wav", "sockets/admin.txt", "notes/deeper", "tmp"])
def test_a_directory_that_holds_anything_else_is_left_alone(tmp_path: Path, entry: str) -> None:
    stale = left_behind(tmp_path)
    if entry.startswith("notes"):
        (stale / "notes").unlink()
    (stale / entry).parent.mkdir(exist_ok=True)
    (stale / entry).touch()
    remove_stale(tmp_path, KIND)
    assert (stale / entry).exists()


@pytest.mark.parametrize("name", ["notes", "sockets"])
def test_links_are_neither_followed_nor_removed(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    stale = left_behind(tmp_path)
    (stale / name).unlink(missing_ok=True)
    (stale / name).symlink_to(outside)
    remove_stale(tmp_path, KIND)
    assert (stale / name).is_symlink()
    assert (outside / "precious").exists()


def test_a_link_to_a_stale_directory_is_none(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    stale = left_behind(tmp_path / "elsewhere")
    (tmp_path / "owned-link").symlink_to(stale)
    remove_stale(tmp_path, KIND)
    assert (stale / "notes").exists()


def test_a_lock_that_is_a_link_is_none(tmp_path: Path) -> None:
    stale = left_behind(tmp_path)
    (tmp_path / "mine").touch()
    (stale / "lock").unlink()
    (stale / "lock").symlink_to(tmp_path / "mine")
    remove_stale(tmp_path, KIND)
    assert stale.exists()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o1700])
def test_a_directory_that_is_open_to_others_is_not_ours(tmp_path: Path, mode: int) -> None:
    stale = left_behind(tmp_path)
    stale.chmod(mode)
    remove_stale(tmp_path, KIND)
    assert (stale / "notes").exists()


@pytest.mark.parametrize("whose", ["directory", "file"])
def test_what_belongs_to_another_user_is_left_alone(
    tmp_path: Path, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = left_behind(tmp_path)
    if whose == "directory":
        monkeypatch.setattr(os, "geteuid", lambda: stale.stat().st_uid + 1)
    elif os.geteuid() == 0:
        os.chown(stale / "notes", 65534, 65534)
    else:
        pytest.skip("only root can give files away")
    remove_stale(tmp_path, KIND)
    assert (stale / "notes").exists()


def test_a_directory_is_vacated_before_it_is_removed(tmp_path: Path) -> None:
    seen: list[bool] = []
    kind = DirectoryKind(KIND.prefix, KIND.contents, lambda path: seen.append((path / "lock").exists()))
    stale = left_behind(tmp_path)
    directory = OwnedDirectory.create(tmp_path, kind)
    assert (stale.exists(), seen) == (False, [True])
    directory.remove()
    assert seen == [True, True]
