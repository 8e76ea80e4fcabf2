"""Errors cross processes whole and speak OpenAI's JSON."""

import pickle

import pytest

from deployments.shared.errors import AmanuensisError
from tests.support.errors import all_errors


@pytest.mark.parametrize("cls", all_errors())
def test_an_error_survives_pickling(cls: type[AmanuensisError]) -> None:
    error = cls("why", param="file", retry_after_s=2)
    error.stage = "stage2_encoder"
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    assert type(copy) is cls
    assert (copy.message, copy.param, copy.retry_after_s, copy.stage) == ("why", "file", 2, "stage2_encoder")


@pytest.mark.parametrize("cls", all_errors())
def test_the_body_has_openais_shape(cls: type[AmanuensisError]) -> None:
    error = cls("why")
    error.stage = "stage2_encoder"
    assert error.body() == {"error": {"message": "why", "type": cls.type, "param": None, "code": cls.code}}
    assert 400 <= cls.status < 600
