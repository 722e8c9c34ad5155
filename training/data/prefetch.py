"""Shards brought into their cache before they are read: a loader knows from its plan which ones come next.

with Prefetch(needed_shards(draws_to_come, sources), ahead=plan.batches) as prefetch:
for number in count():
prefetch.at(number)  # batch `number` is the next that comes
...
"""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self, TypeGuard

from stage.errors import ViewforgeError
from training.data.cache import ShardCache
from training.data.plan import Draws
from training.data.reader import ShardReader
from training.data.shard_store import ShardStore

_PATIENCE_SECONDS = 5.0


class Place(NamedTuple):
    """A shard, and the cache that is to hold it."""

    cache: ShardCache
    store: ShardStore
    name: str
    size: int
    """About how many bytes it has."""


def needed_shards(draws: Iterable[Draws], sources: Sequence[object]) -> Iterator[list[Place]]:
    """The shards that each batch reads through a cache.

    Args:
        draws: of batch after batch.
        sources: of each dataset of the plan, in its order; those that read no shards through a cache need none.
    """
    cached = {number: source for number, source in enumerate(sources) if reads_through_cache(source)}
    places = {number: _places(source) for number, source in cached.items()}
    for batch in draws:
        read = zip(batch.dataset.tolist(), batch.sample.tolist(), strict=True)
        yield list(dict.fromkeys(places[d][cached[d].shard(sample)] for d, sample in read if d in cached))


def reads_through_cache(source: object) -> TypeGuard[ShardReader]:
    """Whether a source's shards are to be in a cache."""
    return isinstance(source, ShardReader) and source.samples.cache is not None


def _places(source: ShardReader) -> dict[str, Place]:
    """A source's shards by file name."""
    cache, store = source.samples.cache, source.samples.store
    return {name: Place(cache, store, name, size) for name, size in source.shard_sizes().items() if cache}


class Prefetch:
    """Threads that keep in the cache what comes next, in the order of first need, as far as it fits there.

    What they cannot bring they leave to the reader, who meets the same error. Start it after worker processes have been forked:
    threads do not survive a fork.

    Args:
        needs: the shards of batch after batch.
        ahead: so many batches from the present one on are looked at.
        threads: how many bring shards.
    """

    def __init__(self, needs: Iterable[Sequence[Place]], ahead: int, threads: int = 4) -> None:
        self._ahead, self._batch, self._stopped = ahead, 0, False
        # Shards that are to be in the cache now, and the last batch known to need each.
        self._wanted: dict[Place, int] = {}
        self._moved = threading.Condition()
        self._walking = threading.Lock()
        self._walk = self._in_order_of_need(needs)
        self._threads = [
            threading.Thread(target=self._work, name="prefetch shards", daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def at(self, batch: int) -> None:
        """Say that this batch is the next to come; those before it need nothing any more."""
        with self._moved:
            self._batch = batch
            self._moved.notify_all()

    def close(self) -> None:
        """End the threads; shards that they are just bringing are given a few seconds."""
        with self._moved:
            self._stopped = True
            self._moved.notify_all()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (place := self._take()) is not None:
            self._bring(place)

    def _take(self) -> Place | None:
        """The next shard to bring, waited for; None at the end."""
        with self._walking:
            while not self._stopped:
                before = self._batch
                place = next(self._walk, None)
                if place is not None:
                    return place
                self._wait_for_another(before)
        return None

    def _wait_for_another(self, batch: int) -> None:
        """Wait until another batch than this one is the next, or the end."""
        with self._moved:
            self._moved.wait_for(lambda: self._stopped or self._batch != batch)

    def _in_order_of_need(self, needs: Iterable[Sequence[Place]]) -> Iterator[Place | None]:
        """Each shard when it is first needed; None while there is none to bring before the next batch has come."""
        for number, places in enumerate(needs):
            while number >= self._batch + self._ahead:
                yield None
            for place in places:
                if place in self._wanted:
                    self._wanted[place] = number
                    continue
                while number >= self._batch and not self._fits(place):
                    yield None
                if number >= self._batch and place.size <= place.cache.max_bytes:
                    self._wanted[place] = number
                    yield place

    def _fits(self, place: Place) -> bool:
        """Whether there is room for one more; never for want of it where it can never be had, so that others get their turn."""
        for past in [wanted for wanted, last in self._wanted.items() if last < self._batch]:
            del self._wanted[past]
        filled = sum(wanted.size for wanted in self._wanted if wanted.cache.folder == place.cache.folder)
        return place.size > place.cache.max_bytes or filled + place.size <= place.cache.max_bytes

    def _bring(self, place: Place) -> None:
        try:
            if place.cache.touch(place.store, place.name):
                return
            # Room is made at the cost of what was used least recently, which must not be what is only yet to be used.
            for wanted in list(self._wanted):
                wanted.cache.touch(wanted.store, wanted.name)
            with place.cache.lease(place.store, place.name):
                pass
        except ViewforgeError:
            pass
