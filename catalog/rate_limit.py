"""How long a server asks to be left alone, and the pause that all workers then keep.

Three habits are understood: `Retry-After` (seconds or a date), the IETF draft's `RateLimit: "name";r=0;t=87`, which is all that
Hugging Face sends, and reset times such as `X-RateLimit-Reset`.
"""

import math
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_RESET_HEADERS = ("RateLimit-Reset", "X-RateLimit-Reset", "X-Rate-Limit-Reset")
# Larger numbers are moments since 1970, smaller ones seconds from now.
_SMALLEST_MOMENT = 1e9
# Workers come back from a pause one after the other, not all at once.
_SPREAD_SECONDS = 1.0


@dataclass(frozen=True)
class Timing:
    """The clocks, the sleep and the chance that waits are made of; tests bring their own."""

    sleep: Callable[[float, threading.Event], object] = lambda seconds, stop: stop.wait(seconds)
    """Waits some seconds, less when the event is set."""
    clock: Callable[[], float] = time.monotonic
    """Seconds that never run backwards; `sleep` advances it."""
    now: Callable[[], float] = time.time
    """Wall-clock seconds since 1970."""
    random: Callable[[], float] = random.random
    """Uniform in [0, 1)."""


def asked_wait(status: int, headers: Mapping[str, str], now: float) -> float | None:
    """Seconds from now that a refusing answer asks to wait; None when it says nothing that can be read.

    Args:
        status: the answer's status; only 429 is about a rate, and gives the rate's headers a meaning.
        headers: the answer's headers, found in any case of letters.
        now: wall-clock seconds since 1970, used where the answer carries no date of its own.
    """
    sent = _moment(headers.get("Date", "")) or now
    waits = [_retry_after(headers.get("Retry-After", ""), sent)]
    if status == 429:
        waits += [_rate_limit(headers.get("RateLimit", ""))]
        waits += [_reset(headers.get(name, ""), sent) for name in _RESET_HEADERS]
    return next((max(0.0, wait) for wait in waits if wait is not None), None)


def _retry_after(value: str, sent: float) -> float | None:
    seconds = _number(value)
    if seconds is not None:
        return seconds
    moment = _moment(value)
    return None if moment is None else moment - sent


def _rate_limit(value: str) -> float | None:
    """The longest time to a reset among the policies that are used up, or among all when none says so."""
    items = [_fields(item) for item in re.sub(r'"[^"]*"', "", value).split(",")]
    times = [(item.get("r"), item.get("t")) for item in items]
    used_up = [t for r, t in times if t is not None and r == 0]
    return max(used_up or [t for _, t in times if t is not None], default=None)


def _fields(item: str) -> dict[str, float]:
    """The numeric fields of `name;r=0;t=87`."""
    pairs = [field.partition("=") for field in item.split(";")]
    numbers = {name.strip(): _number(text) for name, _, text in pairs}
    return {name: number for name, number in numbers.items() if number is not None}


def _reset(value: str, sent: float) -> float | None:
    number = _number(value)
    return number - sent if number is not None and number > _SMALLEST_MOMENT else number


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _moment(text: str) -> float | None:
    """Seconds since 1970 of an HTTP date; None when it is none."""
    try:
        moment: datetime = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class HostPauses:
    """Pauses that hosts asked for: when one worker is told to wait, all that ask the same host wait.

    Args:
        timing: clock and sleep, which must agree with each other.
    """

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def hold(self, host: str, seconds: float) -> None:
        """Leave a host alone for some seconds from now; a longer pause that holds already stays."""
        until = self._timing.clock() + seconds
        with self._lock:
            self._until[host] = max(until, self._until.get(host, until))

    def wait(self, host: str, stop: threading.Event) -> None:
        """Return when the host's pause is over, also one that others prolong meanwhile, or when `stop` is set."""
        while not stop.is_set():
            with self._lock:
                left = self._until.get(host, -math.inf) - self._timing.clock()
            if left <= 0:
                return
            self._timing.sleep(left + self._timing.random() * _SPREAD_SECONDS, stop)
