"""A user without a home: no ``HOME``, no entry in the password file, as containers with random user ids have it."""

from __future__ import annotations

import pwd

import pytest


def without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the home of this process' user away, and the XDG directories that would replace it."""

    def no_entry(_: int) -> pwd.struct_passwd:
        raise KeyError("no such user")

    for variable in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
