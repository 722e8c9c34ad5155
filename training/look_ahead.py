"""Batches that come some at a time where a system prepares them together.

The data's place that a checkpoint holds is the one after the batch that was trained on last, whatever was read since.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from systems.trainable import TrainableSystem
from training.data.batches import ViewBatch
from training.feed import Feed


class LookAhead:
    """The batches of a feed; what was read and not trained on yet lies in memory.

    Args:
        feed: this process' batches.
        system: says how many are to come together.
        steps: of the run, past which nothing is read.
    """

    def __init__(self, feed: Feed, system: TrainableSystem, steps: int) -> None:
        self._feed, self._system, self._steps = feed, system, steps
        self._place: Mapping[str, Any] | None = None

    def after(self, done: int) -> Iterator[tuple[ViewBatch, list[ViewBatch]]]:
        """The batch of each step after so many, and with the first of some that come together all of them.

        Raises:
            ViewforgeError: as the feed does; in a step that looks ahead, also for a batch that is to come.
        """
        batches = iter(self._feed)
        step = done
        while True:
            size = min(self._system.look_ahead(step), max(1, self._steps - step))
            if size == 1:
                self._place = None
                yield next(batches), []
            else:
                yield from self._together(batches, size)
            step += size

    def state_dict(self) -> dict[str, Any]:
        """The place after the batch that was handed out last, the same in every process."""
        return self._feed.state_dict() if self._place is None else dict(self._place)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on at a saved place; raises as the feed does."""
        self._feed.load_state_dict(state)
        self._place = None

    def _together(self, batches: Iterator[ViewBatch], size: int) -> Iterator[tuple[ViewBatch, list[ViewBatch]]]:
        read = deque((next(batches), self._feed.state_dict()) for _ in range(size))
        told = [batch for batch, _ in read]
        while read:
            batch, self._place = read.popleft()
            yield batch, told
            told = []
