"""How long servers ask to wait, in all the ways that they say it, and the pause that all workers keep."""

import threading
from email.utils import formatdate

import httpx
import pytest
from fault_server import PassingTime

from catalog.rate_limit import HostPauses, asked_wait

NOW = 1.7e9


def wait_of(status: int = 429, **headers: str) -> float | None:
    return asked_wait(status, httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()}), NOW)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "7"}, 7),
        ({"retry_after": " 2.5 "}, 2.5),
        ({"Retry_After": formatdate(NOW + 90, usegmt=True)}, 90),
        ({"Retry_After": formatdate(NOW - 90, usegmt=True)}, 0),
        ({"Retry_After": formatdate(NOW + 90, usegmt=True), "Date": formatdate(NOW + 60, usegmt=True)}, 30),
        ({"RateLimit": '"resolvers";r=0;t=87'}, 87),
        ({"RateLimit": '"api";r=12;t=250, "resolvers";r=0;t=87'}, 87),
        ({"RateLimit": '"a, b;t=999";r=0;t=5, "c";r=0;t=6'}, 6),
        ({"RateLimit": '"api";t=20, "resolvers";t=30'}, 30),
        ({"X_RateLimit_Reset": "44"}, 44),
        ({"X_RateLimit_Reset": str(int(NOW) + 44)}, 44),
        ({"RateLimit_Reset": "8"}, 8),
        ({"Retry_After": "7", "RateLimit": '"resolvers";r=0;t=87', "X_RateLimit_Reset": "44"}, 7),
        ({"Retry_After": "soon", "RateLimit": '"resolvers";r=0;t=87'}, 87),
    ],
)
def test_every_way_of_asking_is_understood(headers: dict[str, str], seconds: float) -> None:
    assert wait_of(**headers) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Retry_After": "-3"},
        {"Retry_After": "nan"},
        {"Retry_After": "1e999"},
        {"Retry_After": "Mon, 99 Foo"},
        {"RateLimit": '"resolvers";r=0'},
        {"RateLimit": '"resolvers";r=0;t=x'},
        {"X_RateLimit_Reset": ""},
    ],
)
def test_nonsense_is_no_wish(headers: dict[str, str]) -> None:
    assert wait_of(**headers) is None


def test_a_rate_says_nothing_about_a_server_that_is_down() -> None:
    assert wait_of(503, RateLimit='"api";r=0;t=87', X_RateLimit_Reset="87") is None
    assert wait_of(503, Retry_After="7") == 7


def test_a_pause_holds_for_its_host_alone(passing_time: PassingTime) -> None:
    pauses = HostPauses(passing_time.timing())
    pauses.hold("hub", 30)
    pauses.wait("mirror", threading.Event())
    assert passing_time.slept == []
    pauses.wait("hub", threading.Event())
    assert passing_time.slept == [30]
    pauses.wait("hub", threading.Event())
    assert passing_time.slept == [30], "it is over"


def test_the_longer_of_two_pauses_holds(passing_time: PassingTime) -> None:
    pauses = HostPauses(passing_time.timing())
    pauses.hold("hub", 30)
    pauses.hold("hub", 5)
    pauses.wait("hub", threading.Event())
    assert passing_time.slept == [30]


def test_a_pause_that_is_prolonged_while_someone_waits_is_kept(passing_time: PassingTime) -> None:
    sleep = passing_time.sleep

    def prolonging(seconds: float, stop: threading.Event) -> None:
        if not passing_time.slept:
            pauses.hold("hub", 50)
        sleep(seconds, stop)

    passing_time.sleep = prolonging  # type: ignore[method-assign]
    pauses = HostPauses(passing_time.timing())
    pauses.hold("hub", 30)
    pauses.wait("hub", threading.Event())
    assert passing_time.slept == [30, 20]


def test_a_run_that_ends_does_not_wait(passing_time: PassingTime) -> None:
    pauses, stop = HostPauses(passing_time.timing()), threading.Event()
    pauses.hold("hub", 30)
    stop.set()
    pauses.wait("hub", stop)
    assert passing_time.slept == []
