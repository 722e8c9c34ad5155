"""What a shard set holds, counted from its lists alone: objects, views and bytes by split, licence and source, and tombstones."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalog.licences import licence_of
from catalog.table import SPLITS
from training.data.index import IndexRow
from training.data.shard_store import StreamParameters
from training.data.streams import open_store

_NAMES: dict[str, Callable[[IndexRow], str]] = {
    "split": lambda row: row.split,
    "licence": lambda row: licence_of(row.licence).identifier,
    "source": lambda row: row.source,
}


@dataclass(frozen=True)
class ShardGroup:
    """Objects of a shard set that have something in common."""

    name: str
    shards: int
    """Shards that hold some of them."""
    objects: int
    views: int
    bytes: int
    """Of their samples, headers included."""


@dataclass(frozen=True)
class ShardStatistics:
    """Counts of a shard set."""

    groups: dict[str, list[ShardGroup]]
    """By what they are grouped by, largest first; splits in their own order."""
    total: ShardGroup
    tombstones: ShardGroup
    """What compacting would remove; `shards` are those that hold some of it."""


def count(place: Path | str, streams: StreamParameters | None = None) -> ShardStatistics:
    """Count a shard set.

    Args:
        place: the shard set, a folder or a URL (`training.data.streams`).
        streams: how patiently a server is asked.

    Raises:
        InputError: when there is no index, or a list is damaged.
        StreamError: when the server that has the set cannot be reached.
    """
    store = open_store(place, streams)
    rows = store.rows()
    groups = {by: _groups(rows, name_of) for by, name_of in _NAMES.items()}
    groups["split"].sort(key=lambda group: SPLITS.index(group.name) if group.name in SPLITS else len(SPLITS))
    tombstones = _group("tombstones", store.tombstones(rows))
    return ShardStatistics(groups, _group("all", rows), tombstones)


def _groups(rows: Iterable[IndexRow], name_of: Callable[[IndexRow], str]) -> list[ShardGroup]:
    members: dict[str, list[IndexRow]] = {}
    for row in rows:
        members.setdefault(name_of(row), []).append(row)
    groups = [_group(name, of) for name, of in members.items()]
    return sorted(groups, key=lambda group: (-group.objects, group.name))


def _group(name: str, rows: Sequence[IndexRow]) -> ShardGroup:
    shards = len({row.shard for row in rows})
    return ShardGroup(name, shards, len(rows), sum(row.views for row in rows), sum(row.size for row in rows))
