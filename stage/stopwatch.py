"""Seconds of named phases of one job, for its answer: where the time went."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Wall-clock seconds by phase; a phase that is entered again adds up. Threads may time different phases at once."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to the phase, also when it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - started

    def seconds(self) -> dict[str, float]:
        """Seconds of each phase so far, rounded to a tenth of a millisecond."""
        return {name: round(seconds, 4) for name, seconds in self._seconds.items()}
