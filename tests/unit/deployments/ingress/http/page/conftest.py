"""The page's modules for tests that run them in Node."""

import pytest

from tests.support.page_scripts import Scripts


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Scripts:
    """A copy of the modules."""
    return Scripts(tmp_path_factory.mktemp("page"))
