"""Whose job is next."""

from datetime import timedelta

from deployments.ingress.jobs.job import StoredJob
from deployments.ingress.jobs.turns import next_job
from deployments.ingress.request import Priority
from tests.support.jobs import NOW, new_job


def order_of(jobs: list[StoredJob]) -> list[str]:
    """The file names of all jobs in the order in which they begin, one per second."""
    names = list[str]()
    while (chosen := next_job(jobs)) is not None:
        names.append(chosen.job.filename)
        jobs[jobs.index(chosen)] = chosen.begun(NOW + timedelta(seconds=len(names)))
    return names


def test_none_is_next_where_none_waits() -> None:
    assert next_job([]) is None
    assert next_job([new_job().begun(NOW), new_job().ended("cancelled", NOW)]) is None


def test_the_highest_priority_goes_first_and_then_the_oldest() -> None:
    jobs = [
        new_job(Priority.LOW, 0, filename="old"),
        new_job(Priority.LOW, 1, filename="new"),
        new_job(Priority.NORMAL, 3, filename="normal"),
        new_job(Priority.HIGH, 4, filename="high"),
    ]
    assert order_of(jobs) == ["high", "normal", "old", "new"]


def test_many_jobs_of_one_client_do_not_keep_the_others_out() -> None:
    jobs = [new_job(second=second, client="ann", filename=f"ann {second}") for second in range(4)]
    jobs += [new_job(second=10 + number, client="bob", filename=f"bob {number}") for number in range(2)]
    assert order_of(jobs) == ["ann 0", "bob 0", "ann 1", "bob 1", "ann 2", "ann 3"]


def test_a_client_whose_jobs_have_ended_has_had_its_turn() -> None:
    ended = new_job(client="ann").begun(NOW).ended("done", NOW)
    waiting = [new_job(second=1, client="ann", filename="ann"), new_job(second=2, client="bob", filename="bob")]
    assert order_of([ended, *waiting]) == ["bob", "ann"]
