"""What brings a journal to its server: a thread that tries again for as long as the server is away, while training goes on."""

import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

from training.tracking.journal import TRAINING, Entry, Journal

_AT_ONCE = 500
# Between two deliveries, so that many small ones become one.
_PAUSE = 1.0
_LONGEST_WAIT = 60.0
_LONGEST_WAIT_AT_END = 2.0


class Delivery(Protocol):
    """A server that takes entries; it may be given the same ones again."""

    def attach(self) -> bool:
        """Find or make the run; whether it is one that has nothing yet.

        Raises:
            Exception: when the server is away.
        """

    def deliver(self, entries: list[Entry]) -> None:
        """Send entries in their order.

        Raises:
            Exception: when the server is away.
        """


class Drain:
    """Delivers a journal in the background from `start` on.

    Args:
        journal: what is to be delivered.
        connect: makes the delivery; called in the background, as importing a client takes seconds.
        place: of the server, for messages.
        program: who reports, for messages.
    """

    def __init__(self, journal: Journal, connect: Callable[[], Delivery], place: str, program: str = TRAINING) -> None:
        self._journal, self._connect, self._place, self._program = journal, connect, place, program
        self._closing, self._abandoned = threading.Event(), threading.Event()
        self._delivery: Delivery | None = None
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    def start(self) -> None:
        """Begin, if it has not begun yet."""
        if not self._thread.is_alive() and not self._closing.is_set():
            self._thread.start()

    def close(self, patience: float) -> bool:
        """Wait so many seconds at the most for everything to arrive; whether it did. No attempt begins after it."""
        self.start()
        self._closing.set()
        self._journal.wake()
        self._thread.join(patience)
        self._abandoned.set()
        return self._journal.complete and self.ended

    @property
    def ended(self) -> bool:
        """Whether nothing more will be sent; a server that hangs keeps the last attempt waiting."""
        return not self._thread.is_alive()

    def _work(self) -> None:
        failures, away_since = 0, 0.0
        while not (self._abandoned.is_set() or (self._closing.is_set() and self._journal.complete)):
            try:
                self._send()
            except Exception as error:  # noqa: BLE001 - whatever a server or a network does, training goes on
                failures += 1
                if failures == 1:
                    away_since = time.monotonic()
                    self._say(f"does not take figures ({_reason(error)}); they are kept and sent when it does")
                self._rest(min(2.0 ** (failures - 1), _LONGEST_WAIT))
                continue
            if failures:
                self._say(f"takes figures again after {time.monotonic() - away_since:.0f} s; nothing was lost")
            failures = 0
            self._closing.wait(_PAUSE)
            if not self._closing.is_set():
                self._journal.wait(None)

    def _send(self) -> None:
        """The next entries, if there are any."""
        if self._delivery is None:
            delivery = self._connect()
            if delivery.attach():
                self._journal.forget_deliveries()
            self._delivery = delivery
        pending = self._journal.pending(_AT_ONCE)
        if pending.entries:
            self._journal.attempting(pending.end)
            self._delivery.deliver(pending.entries)
            self._journal.delivered(pending.end)

    def _rest(self, seconds: float) -> None:
        """Between two failed attempts; shorter once the end has come."""
        if self._closing.wait(seconds):
            self._abandoned.wait(min(seconds, _LONGEST_WAIT_AT_END))

    def _say(self, what: str) -> None:
        print(f"{self._program}: MLflow at {self._place} {what}", file=sys.stderr, flush=True)


def _reason(error: Exception) -> str:
    """The first line of what a library says, cut short: they repeat whole requests."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:200]
