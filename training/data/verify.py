"""Verification of a shard set, wherever it is: every byte hashed again, every member counted, each damage named by its place.

A set must have no tars but those of its lists; where the tars cannot be listed, as on a web server, that is not looked at. Shards
are read side by side: hashing and reading leave the interpreter free, so threads are enough.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stage.progress import Progress
from training.data.index import INDEX, IndexRow
from training.data.shard_check import Damage, ShardContents, check_shard
from training.data.shard_store import ShardStore, StreamParameters
from training.data.streams import open_store

__all__ = ["Damage", "Verification", "verify"]


@dataclass(frozen=True)
class Verification:
    """What a shard set was found to hold; objects and views are those alive and whole."""

    shards: int
    objects: int
    views: int
    bytes: int
    """Of all shards."""
    damages: list[Damage]


def verify(place: Path | str, workers: int = 0, streams: StreamParameters | None = None) -> Verification:
    """Read a whole shard set and compare it with its index and its list of tombstones.

    Each shard is read once, from its start to its end; what is in memory at a time is an object or two for each worker.

    Args:
        place: the shard set, a folder or a URL (`training.data.streams`).
        workers: shards read side by side; 0 takes one per CPU core.
        streams: how patiently a server is asked.

    Raises:
        InputError: when there is no index, or a list is damaged.
        StreamError: when the server that has the set cannot be reached.
    """
    store = open_store(place, streams)
    rows = store.rows()
    dead = store.tombstones(rows)
    pieces: dict[str, list[IndexRow]] = {}
    for row in (*rows, *dead):
        pieces.setdefault(row.shard, []).append(row)
    gone = frozenset((row.shard, row.offset) for row in dead)
    found: list[ShardContents] = []
    with (
        Progress("verify", len(pieces), "shards") as progress,
        ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool,
    ):
        for contents in pool.map(lambda item: check_shard(store, item[0], item[1], gone), sorted(pieces.items())):
            found.append(contents)
            progress.advance()
    damages = [damage for contents in found for damage in contents.damages]
    damages += [*_keys(rows), *_strangers(store, pieces)]
    objects, views, size = (sum(getattr(item, name) for item in found) for name in ("objects", "views", "bytes"))
    return Verification(len(pieces), objects, views, size, sorted(damages, key=lambda d: (d.shard, d.offset, d.key)))


def _keys(rows: Sequence[IndexRow]) -> Iterator[Damage]:
    """Keys that the index may not hold, and those that it holds more than once."""
    counts = Counter(row.key for row in rows)
    for row in rows:
        if counts[row.key] > 1:
            yield Damage(row.shard, row.key, row.offset, f"{INDEX} lists its key {counts[row.key]} times")
        if "." in row.key:
            yield Damage(row.shard, row.key, row.offset, "its key holds a dot, which ends a sample's key")


def _strangers(store: ShardStore, known: Iterable[str]) -> Iterator[Damage]:
    for name in sorted((store.tars() or set()) - set(known)):
        yield Damage(name, "", 0, f"{INDEX} does not list this shard")
