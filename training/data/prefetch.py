"""Shards brought into the cache before they are read.

    with Prefetch(cache, store, [row.shard for row in rows_in_order]) as prefetch:
        for place, row in enumerate(rows_in_order):
            prefetch.at(place)
            data = samples.read(row)
"""

import threading
from collections.abc import Sequence
from itertools import groupby
from types import TracebackType
from typing import Self

from stage.errors import ViewforgeError
from training.data.cache import ShardCache
from training.data.shard_store import ShardStore

_PATIENCE_SECONDS = 5.0


class Prefetch:
    """A thread that keeps the next shards of an order in the cache, as far as they fit there beside the current one.

    What it cannot bring it leaves to the reader, who meets the same error. Start it after worker processes have been forked, or
    in them: threads do not survive a fork.

    Args:
        cache: where the shards go.
        store: where they come from.
        order: the shard of each place of the reading order.
        ahead: number of further shards to keep ready.
    """

    def __init__(self, cache: ShardCache, store: ShardStore, order: Sequence[str], ahead: int = 2) -> None:
        self._cache, self._store, self._ahead = cache, store, ahead
        self._names, self._turn_of_place = _turns(order)
        self._turn, self._stop = -1, False
        self._sizes: dict[str, int] = {}
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="prefetch shards", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def at(self, place: int) -> None:
        """Say that the reader is now at this place of the order, also backwards."""
        with self._moved:
            turn = self._turn_of_place[place]
            if turn != self._turn:
                self._turn = turn
                self._moved.notify_all()

    def close(self) -> None:
        """End the thread; a shard that it is just bringing is given a few seconds."""
        with self._moved:
            self._stop = True
            self._moved.notify_all()
        self._thread.join(_PATIENCE_SECONDS)

    def _work(self) -> None:
        done = -1
        while (turn := self._next_turn(done)) is not None:
            for name in self._window(turn):
                # A reader that has gone further wants other shards first.
                if self._turn != turn or self._stop:
                    break
                self._bring(name)
            else:
                done = turn
                continue
            done = -1

    def _next_turn(self, done: int) -> int | None:
        """The reader's turn once it is another than the one that was seen to; None at the end."""
        with self._moved:
            self._moved.wait_for(lambda: self._stop or self._turn not in (-1, done))
            return None if self._stop else self._turn

    def _window(self, turn: int) -> list[str]:
        """The shards after the current one that fit beside it."""
        names = self._names[turn : turn + 1 + self._ahead]
        filled, window = 0, []
        for name in dict.fromkeys(names):
            filled += self._size(name)
            if filled > self._cache.max_bytes:
                break
            window.append(name)
        return window[1:]

    def _size(self, name: str) -> int:
        if name not in self._sizes:
            try:
                self._sizes[name] = self._store.size(name)
            except ViewforgeError:
                return self._cache.max_bytes
        return self._sizes[name]

    def _bring(self, name: str) -> None:
        try:
            with self._cache.lease(self._store, name):
                pass
        except ViewforgeError:
            pass


def _turns(order: Sequence[str]) -> tuple[list[str], list[int]]:
    """The order without repetitions in a row, and for each place its number in that."""
    names, turn_of_place = [], []
    for turn, (name, group) in enumerate(groupby(order)):
        names.append(name)
        turn_of_place += [turn] * len(list(group))
    return names, turn_of_place
