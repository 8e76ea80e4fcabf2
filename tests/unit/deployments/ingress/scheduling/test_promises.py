"""Times at which refused requests were told to come back."""

from deployments.ingress.scheduling.promises import Promises


def test_a_time_is_outstanding_until_it_passes_and_then_keeps_one_request() -> None:
    promises = Promises()
    assert not promises.keep(0.0)
    for time in (3.0, 1.0, 2.0):
        promises.add(time)
    assert promises.outstanding(0.5) == 3
    assert not promises.keep(0.5)
    assert promises.outstanding(2.0) == 1
    assert promises.keep(2.0)
    assert promises.keep(2.0)
    assert not promises.keep(2.0)


def test_times_that_nobody_used_are_forgotten_when_none_is_outstanding() -> None:
    promises = Promises()
    promises.add(1.0)
    assert promises.outstanding(5.0) == 0
    assert not promises.keep(5.0)
