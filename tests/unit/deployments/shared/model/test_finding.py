"""Where a model's files come from, and that none is used, or left behind, that is not what it should be."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import importlib
import re
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deployments.shared.errors import ConfigurationError
from deployments.shared.model.cache import cached_path, model_cache
from deployments.shared.model.files import sha256
from deployments.shared.model.finding import find, resolve, source_of
from deployments.shared.model.sources import SIZES, Source
from tests.support.homeless import without_home
from tests.support.local_hub import LocalHub, offline, serving
from tests.support.real_model import real_base

FILES = {
    "model.bin": b"weights" * 1000,
    "config.json": b"{}",
    "tokenizer.json": b"tokens",
    "vocabulary.txt": b"words",
}
SUMS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
REPOSITORY = "someone/small-whisper"
PINNED = Source("pinned", REPOSITORY, revision="5" * 40, sums=SUMS, packages=("weights_part1", "weights_part2"))


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty model cache, and an empty cache of the hub's client."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("deployments.shared.model.finding.SIZES", {**SIZES, "pinned": PINNED})
    return tmp_path / "cache" / "amanuensis" / "models"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A hub on this machine that has the files of ``REPOSITORY``."""
    with serving({REPOSITORY: FILES}, monkeypatch) as hub:
        yield hub


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The two packages of ``PINNED``, installed."""
    half = len(FILES["model.bin"]) // 2
    parts = (
        {**FILES, "model.bin.part1": FILES["model.bin"][:half]},
        {"model.bin.part2": FILES["model.bin"][half:]},
    )
    del parts[0]["model.bin"]
    for package, files in zip(PINNED.packages, parts, strict=True):
        place(tmp_path / "site" / package / "data", files)
        (tmp_path / "site" / package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    return tmp_path / "site"


def place(directory: Path, files: Mapping[str, bytes]) -> Path:
    directory.mkdir(parents=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def everything_in(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*"))


class TestCache:
    def test_a_cached_model_is_used_and_asks_nobody(self, cache: Path, hub: LocalHub) -> None:
        place(cache / "pinned", FILES)
        assert resolve("pinned") == cache / "pinned"
        assert hub.requests == []

    def test_a_wrong_file_is_named_with_both_sums(self, cache: Path) -> None:
        place(cache / "pinned", {**FILES, "tokenizer.json": b"tampered"})
        with pytest.raises(ConfigurationError) as raised:
            resolve("pinned")
        found = hashlib.sha256(b"tampered").hexdigest()
        assert f"{cache / 'pinned' / 'tokenizer.json'} has the SHA-256 {found} instead of" in str(raised.value)
        assert SUMS["tokenizer.json"] in str(raised.value)

    def test_a_missing_file_is_named(self, cache: Path) -> None:
        place(cache / "pinned", {name: content for name, content in FILES.items() if name != "config.json"})
        with pytest.raises(ConfigurationError, match=r"pinned lacks config\.json; place the files of someone/"):
            find("pinned")

    def test_other_files_beside_the_pinned_ones_do_no_harm(self, cache: Path) -> None:
        place(cache / "pinned", {**FILES, "amanuensis.json": b"{}"})
        assert find("pinned") == cache / "pinned"


class TestPackages:
    def test_their_parts_are_joined_and_nobody_is_asked(self, cache: Path, packages: Path, hub: LocalHub) -> None:
        assert packages.is_dir()
        assert find("pinned") == cache / "pinned"
        assert contents(cache / "pinned") == FILES
        assert hub.requests == []

    def test_a_wrong_part_leaves_nothing_behind(self, cache: Path, packages: Path) -> None:
        (packages / "weights_part2" / "data" / "model.bin.part2").write_bytes(b"other weights")
        with pytest.raises(ConfigurationError, match=rf"model\.bin has the SHA-256 .* instead of {SUMS['model.bin']}"):
            find("pinned")
        assert everything_in(cache) == []

    def test_one_of_two_packages_is_as_good_as_none(self, packages: Path) -> None:
        shutil.rmtree(packages / "weights_part2")
        assert find("pinned") is None


class TestHub:
    def test_a_download_fills_the_cache(self, cache: Path, hub: LocalHub) -> None:
        assert resolve("pinned") == cache / "pinned"
        assert contents(cache / "pinned") == FILES
        assert everything_in(cache) == sorted([cache / "pinned", *(cache / "pinned").iterdir()])
        assert all(PINNED.revision in path for path in hub.requests), "the pinned revision is what is asked for"

    def test_only_what_a_model_needs_is_downloaded(self, hub: LocalHub) -> None:
        hub.files["someone/else"] = {**FILES, "pytorch_model.bin": b"huge", "README.md": b"", "amanuensis.json": b"{}"}
        assert contents(resolve("someone/else")).keys() == {*FILES, "amanuensis.json"}

    def test_a_hub_id_without_pinned_sums_is_checked_against_the_hubs(self, cache: Path, hub: LocalHub) -> None:
        hub.files["someone/else"] = dict(FILES)
        assert resolve("someone/else") == cache / "someone--else"
        assert contents(cache / "someone--else") == FILES
        shutil.rmtree(cache / "someone--else")
        hub.corrupts = "model.bin"
        with pytest.raises(ConfigurationError, match=r"model\.bin has the SHA-256"):
            resolve("someone/else")
        assert everything_in(cache) == []

    def test_a_wrong_download_leaves_nothing_behind(self, cache: Path, hub: LocalHub) -> None:
        hub.corrupts = "vocabulary.txt"
        with pytest.raises(ConfigurationError, match=r"vocabulary\.txt has the SHA-256 .*it was deleted"):
            resolve("pinned")
        assert everything_in(cache) == []

    @pytest.mark.usefixtures("hub")
    def test_an_interrupted_download_leaves_nothing_behind(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def ctrl_c(*_: object, local_dir: Path, **__: object) -> None:
            (local_dir / "model.bin").write_bytes(b"half")
            raise KeyboardInterrupt

        monkeypatch.setattr("huggingface_hub.hf_hub_download", ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            resolve("pinned")
        assert everything_in(cache) == []

    def test_what_a_killed_process_left_is_removed(self, cache: Path, hub: LocalHub) -> None:
        place(cache / ".pinned.partial", {"model.bin": b"half", "stale": b""})
        resolve("pinned")
        assert hub.requests
        assert contents(cache / "pinned") == FILES
        assert not (cache / ".pinned.partial").exists()

    def test_a_gated_repository_says_so(self, hub: LocalHub) -> None:
        hub.refuses = True
        with pytest.raises(ConfigurationError, match="GatedRepoError"):
            resolve("pinned")

    def test_the_token_reaches_the_hub(self, hub: LocalHub) -> None:
        resolve("pinned", "hf_secret")
        assert set(hub.tokens) == {"Bearer hf_secret"}

    def test_without_network_one_sentence_says_which_files_to_put_where(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        offline(monkeypatch)
        with pytest.raises(ConfigurationError) as raised:
            resolve("pinned")
        message = str(raised.value)
        assert message.endswith(
            f"place the files of {REPOSITORY} at revision {PINNED.revision} (model.bin, config.json, tokenizer.json, "
            f"vocabulary.txt) in {cache / 'pinned'} and start again"
        )
        assert "weights_part1 and weights_part2 are not installed" in message
        assert not re.search(r"\.\s", message), "it is one sentence"
        assert everything_in(cache) == []

    def test_a_terminal_shows_one_bar_over_all_bytes(
        self, hub: LocalHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        resolve("pinned")
        shown = capsys.readouterr().err
        assert hub.requests
        assert "pinned: 100%" in shown
        assert set(re.findall(r"(\S+): +\d+%", shown)) == {"pinned"}


class TestHubCache:
    def test_a_snapshot_of_the_hubs_client_is_used_where_it_lies(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        offline(monkeypatch)
        snapshot = tmp_path / "hub" / "models--someone--small-whisper" / "snapshots" / PINNED.revision
        place(snapshot, FILES)
        assert resolve("pinned") == snapshot

    def test_it_is_checked_like_everything_else(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        offline(monkeypatch)
        snapshot = tmp_path / "hub" / "models--someone--small-whisper" / "snapshots" / PINNED.revision
        place(snapshot, {**FILES, "model.bin": b"tampered"})
        with pytest.raises(ConfigurationError, match=rf"{re.escape(str(snapshot))}/model\.bin has the SHA-256"):
            resolve("pinned")

    def test_half_a_snapshot_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        offline(monkeypatch)
        place(tmp_path / "hub" / "models--someone--small-whisper" / "snapshots" / PINNED.revision, {"model.bin": b""})
        assert find("pinned") is None


def test_two_starts_at_once_fetch_once(cache: Path, hub: LocalHub) -> None:
    paths: list[Path] = []
    cache.mkdir(parents=True)
    starts = [threading.Thread(target=lambda: paths.append(resolve("pinned"))) for _ in range(2)]
    with cache.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for start in starts:
            start.start()
    for start in starts:
        start.join()
    assert paths == [cache / "pinned"] * 2
    assert len([path for path in hub.requests if path.endswith("model.bin")]) <= 2, "one HEAD and one GET"


def test_a_cache_that_cannot_be_written_is_named(cache: Path, packages: Path) -> None:
    assert packages.is_dir()
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the directory should be")
    with pytest.raises(ConfigurationError, match="XDG_CACHE_HOME"):
        find("pinned")


def test_without_a_home_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without_home(monkeypatch)
    with pytest.raises(ConfigurationError, match="XDG_CACHE_HOME"):
        find("base")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert model_cache() == Path("/cache/amanuensis/models")


def test_a_full_disk_is_told_and_leaves_nothing_behind(
    cache: Path, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert packages.is_dir()
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(ConfigurationError, match=r"cannot be written \(No space left on device\); make room"):
        find("pinned")
    assert everything_in(cache) == []


def test_the_known_sizes_are_those_of_faster_whisper() -> None:
    from faster_whisper.utils import _MODELS  # noqa: PLC0415

    assert {name: source_of(name).repository for name in _MODELS} == _MODELS


def test_the_repository_of_a_size_is_that_size() -> None:
    assert source_of("Systran/faster-whisper-base") == source_of("base")
    assert source_of("turbo") == source_of("large-v3-turbo")


def test_a_size_name_is_never_a_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place(tmp_path / "pinned", FILES)
    monkeypatch.chdir(tmp_path)
    assert find("pinned") is None
    assert find("./pinned") == tmp_path / "pinned"


def test_base_is_pinned_and_its_real_files_have_these_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    real = real_base()
    assert {name: sha256(real / name) for name in SIZES["base"].sums} == SIZES["base"].sums
    assert (real / "model.bin").stat().st_size == 145_217_532
    assert cached_path(SIZES["base"]).name == "base"
