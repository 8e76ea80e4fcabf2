"""Errors cross processes whole and speak OpenAI's JSON."""

import pickle

import pytest

from deployments import errors
from deployments.errors import AmanuensisError


def all_errors() -> list[type[AmanuensisError]]:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    return [cls for cls in classes if issubclass(cls, AmanuensisError)]


@pytest.mark.parametrize("cls", all_errors())
def test_an_error_survives_pickling(cls: type[AmanuensisError]) -> None:
    copy = pickle.loads(pickle.dumps(cls("why", param="file", retry_after_s=2)))  # noqa: S301  (our own bytes)
    assert type(copy) is cls
    assert (copy.message, copy.param, copy.retry_after_s) == ("why", "file", 2)


@pytest.mark.parametrize("cls", all_errors())
def test_the_body_has_openais_shape(cls: type[AmanuensisError]) -> None:
    assert cls("why").body() == {"error": {"message": "why", "type": cls.type, "param": None, "code": cls.code}}
    assert 400 <= cls.status < 600
