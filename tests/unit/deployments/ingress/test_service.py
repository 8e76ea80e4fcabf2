"""What the service needs of its machine to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.shared.errors import ConfigurationError
from tests.support.failure_records import failure
from tests.support.homeless import without_home
from tests.support.http_service import service
from tests.support.scripted_stages import ScriptedStages


def test_a_service_without_a_failure_log_needs_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_home(monkeypatch)
    with pytest.raises(ConfigurationError, match="AMANUENSIS_FAILURE_LOG_MAX_RECORDS=0"):
        service(ScriptedStages(), tmp_path, failure_log_dir=None)
    asked = service(ScriptedStages(), tmp_path, failure_log_dir=None, failure_log_max_records=0)
    asked.failures.record(failure(), b"")
    asked.failures.close()
    assert asked.failures.log.page(10) == ([], False)
    assert asked.failures.errors == 0
