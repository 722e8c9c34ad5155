"""The line of requests before the devices."""

import threading
import time

import pytest

from demo.jobs import JobState, Pool
from stage.errors import InputError


@pytest.fixture
def pool():
    made = Pool(["one"], most_waiting=2, most_seconds=60.0)
    yield made
    made.close()


def stepping(_, job):
    """Work that never ends by itself."""
    while True:
        job.advance()
        time.sleep(0.005)


def started(job):
    while job.state == JobState.WAITING:
        time.sleep(0.005)
    return job


def test_jobs_run_in_the_order_they_came(pool):
    order, gate = [], threading.Event()
    first = started(pool.submit(lambda *_: gate.wait(10)))
    others = [pool.submit(lambda *_, n=n: order.append(n)) for n in range(2)]
    assert [pool.before(job) for job in (first, *others)] == [0, 1, 2]
    gate.set()
    assert all(job.wait(10) for job in others)
    assert order == [0, 1]


def test_a_cancelled_job_frees_its_device(pool):
    running = started(pool.submit(stepping))
    waiting = pool.submit(lambda device, _: device)
    running.cancel()
    assert waiting.wait(5)
    assert (running.state, waiting.state, waiting.result) == (JobState.CANCELLED, JobState.DONE, "one")


def test_who_waits_can_cancel_and_leaves_the_line(pool):
    running = started(pool.submit(stepping))
    waiting, last = pool.submit(stepping), pool.submit(lambda *_: 7)
    waiting.cancel()
    assert pool.before(last) == 1
    assert waiting.state == JobState.CANCELLED
    assert waiting.seconds == 0.0
    running.cancel()
    assert last.wait(5)
    assert last.result == 7


def test_more_than_may_wait_are_refused_politely(pool):
    started(pool.submit(stepping))
    pool.submit(stepping)
    pool.submit(stepping)
    with pytest.raises(InputError, match=r"2 requests wait already; try again"):
        pool.submit(stepping)


def test_a_failure_is_the_jobs_own(pool):
    def failing(*_):
        raise ZeroDivisionError("secret")

    failed, after = pool.submit(failing), pool.submit(lambda *_: "well")
    assert after.wait(5)
    assert failed.state == JobState.FAILED
    assert isinstance(failed.error, ZeroDivisionError)
    assert after.result == "well"


def test_a_job_that_takes_too_long_ends():
    pool = Pool(["one"], most_waiting=2, most_seconds=0.05)
    job = pool.submit(stepping)
    assert job.wait(5)
    assert "more than 0 s" in str(job.error)
    pool.close()


def test_two_devices_serve_two_at_once():
    pool, meeting = Pool(["one", "two"], 2, 60.0), threading.Barrier(2, timeout=5)
    jobs = [pool.submit(lambda device, _: (meeting.wait(), device)[1]) for _ in range(2)]
    assert all(job.wait(10) for job in jobs)
    assert {job.result for job in jobs} == {"one", "two"}
    pool.close()


def test_closing_ends_what_runs():
    pool = Pool(["one"], 2, 60.0)
    running, waiting = started(pool.submit(stepping)), pool.submit(stepping)
    pool.close()
    assert running.state == waiting.state == JobState.CANCELLED
