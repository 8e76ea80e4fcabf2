"""A deadline grows with the audio unless the client named it."""

from deployments.ingress.time_limit import TimeLimit


def test_a_deadline_grows_with_the_audio_once_that_is_longer_than_the_least_time() -> None:
    limit = TimeLimit(1000.0, 60.0, 1.5)
    assert limit.deadline() == limit.deadline(40.0) == 1060.0
    assert limit.deadline(3600.0) == 1000.0 + 1.5 * 3600
    assert not limit.is_named


def test_a_named_timeout_does_not_grow() -> None:
    limit = TimeLimit(1000.0, 5.0)
    assert limit.deadline() == limit.deadline(3600.0) == 1005.0
    assert limit.is_named


def test_an_upload_costs_time_only_where_its_client_named_a_timeout() -> None:
    unnamed, named = TimeLimit(1000.0, 60.0, 1.5), TimeLimit(1000.0, 5.0)
    assert unnamed.upload_deadline(7200.0) == 8200.0
    assert unnamed.after_upload(1300.0).deadline() == 1360.0
    assert named.upload_deadline(7200.0) == 1005.0
    assert named.after_upload(1003.0) == named
