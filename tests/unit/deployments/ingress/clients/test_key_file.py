"""Keys come from a closed file, are followed as it changes, and never show."""

import hashlib
import logging
import os
from pathlib import Path

import pytest

from deployments.ingress.clients.key_file import Client, KeyFile, read_keys
from deployments.shared.errors import ConfigurationError

ANN, BOB = "ann's key, said once", "bob's key, said once"


def line(name: str, key: str, *flags: str) -> str:
    return " ".join((name, hashlib.sha256(key.encode()).hexdigest(), *flags))


def write(file: Path, *lines: str, mode: int = 0o600) -> Path:
    file.write_text("\n".join(lines), encoding="utf-8")
    file.chmod(mode)
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "keys", "# who may call", "", line("ann", ANN), f"  {line('bob', BOB, 'operator')}  ")


class TestLookUp:
    def test_a_key_leads_to_its_client(self, file: Path) -> None:
        known = KeyFile(file)
        assert known.client_of(ANN) == Client("ann", operator=False)
        assert known.client_of(BOB) == Client("bob", operator=True)

    @pytest.mark.parametrize(
        "key", ["", "ann", ANN + " ", ANN.upper(), "\xff\x00", hashlib.sha256(ANN.encode()).hexdigest()]
    )
    def test_anything_else_leads_nowhere(self, file: Path, key: str) -> None:
        assert KeyFile(file).client_of(key) is None

    def test_a_file_without_keys_lets_nobody_in(self, tmp_path: Path) -> None:
        assert KeyFile(write(tmp_path / "keys")).client_of("") is None

    def test_every_entry_is_compared_whichever_matches(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        compared: list[bytes] = []

        def compare(known: bytes, offered: bytes) -> bool:
            compared.append(known)
            return known == offered

        monkeypatch.setattr("deployments.ingress.clients.key_file.hmac.compare_digest", compare)
        known = KeyFile(file)
        for key in (ANN, BOB, "nobody's"):
            compared.clear()
            known.client_of(key)
            assert compared == [entry.digest for entry in read_keys(file)]

    def test_nothing_of_a_key_shows(self, file: Path) -> None:
        shown = repr(read_keys(file)) + repr(KeyFile(file)) + str(vars(KeyFile(file)))
        assert "ann" in shown
        for key in (ANN, BOB):
            digest = hashlib.sha256(key.encode())
            assert digest.hexdigest() not in shown
            assert repr(digest.digest()) not in shown


class TestBadFiles:
    @pytest.mark.parametrize(
        "bad",
        [
            "carl",
            f"carl {ANN}",
            "carl " + "0" * 63,
            "carl " + "0" * 65,
            "carl " + "g" * 64,
            line("carl", "x", "admin"),
            line("carl", "x", "operator", "operator"),
            line("carl", "x") + "operator",
            line("-carl", "x"),
            line("carl/../x", "x"),
            line("c" * 65, "x"),
            line("anonymous", "x"),
            line("ann", "another key"),
            line("carl", ANN),
        ],
    )
    def test_a_bad_line_is_numbered_and_not_quoted(self, file: Path, bad: str) -> None:
        write(file, line("ann", ANN), "", bad)
        with pytest.raises(ConfigurationError, match="line 3: ") as refused:
            KeyFile(file)
        assert not set(bad.split()) & set(str(refused.value).replace(":", " ").split()) - {"anonymous"}

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"nowhere cannot be read: No such file"):
            KeyFile(tmp_path / "nowhere")

    def test_a_file_that_is_no_text(self, file: Path) -> None:
        file.write_bytes(b"ann \xff\xfe")
        with pytest.raises(ConfigurationError, match="not UTF-8"):
            KeyFile(file)

    @pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o620, 0o644, 0o666])
    def test_a_file_that_is_open_to_others_is_refused(self, file: Path, mode: int) -> None:
        file.chmod(mode)
        with pytest.raises(ConfigurationError, match="chmod 600"):
            KeyFile(file)

    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
    def test_its_group_may_read_it_as_secrets_are_mounted(self, file: Path, mode: int) -> None:
        file.chmod(mode)
        assert KeyFile(file).client_of(ANN)


class TestChanges:
    def test_a_key_that_is_taken_away_stops_working_at_once(self, file: Path) -> None:
        known = KeyFile(file)
        assert known.client_of(ANN)
        write(file, line("bob", BOB), line("carl", "new"))
        assert known.client_of(ANN) is None
        assert known.client_of(BOB) == Client("bob", operator=False)
        assert known.client_of("new")

    def test_a_change_of_the_time_alone_is_enough(self, file: Path) -> None:
        known = KeyFile(file)
        before = file.stat()
        file.write_bytes(file.read_bytes().replace(b"ann", b"amy"))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        found = known.client_of(ANN)
        assert found is not None
        assert found.name == "amy"

    @pytest.mark.parametrize("broken", ["carl", line("ann", ANN) + "\ncarl x"])
    def test_a_broken_version_changes_nothing_and_is_told_once(
        self, file: Path, caplog: pytest.LogCaptureFixture, broken: str
    ) -> None:
        known = KeyFile(file)
        write(file, broken)
        for _ in range(3):
            assert known.client_of(ANN)
            assert known.client_of(BOB)
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert "stay as they were" in record.message
        assert "line" in record.message
        write(file, line("ann", ANN))
        assert known.client_of(BOB) is None

    def test_a_file_that_is_gone_changes_nothing(self, file: Path, caplog: pytest.LogCaptureFixture) -> None:
        known = KeyFile(file)
        file.unlink()
        assert known.client_of(ANN)
        assert known.client_of(ANN)
        assert len(caplog.records) == 1
        write(file, line("bob", BOB))
        assert known.client_of(ANN) is None

    def test_a_file_that_was_opened_to_others_is_mended_by_chmod(self, file: Path) -> None:
        known = KeyFile(file)
        write(file, line("bob", BOB), mode=0o644)
        assert known.client_of(ANN), "not followed"
        file.chmod(0o600)
        assert known.client_of(ANN) is None
