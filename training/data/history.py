"""What a shard set holds already, and what of it stays alive when its objects have changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from catalog.table import SPLITS
from stage.errors import InputError
from training.data.index import IndexRow, read_recipe, read_rows, read_tombstones
from training.data.sources import Source

# Two blocks of zeros end a tar.
_END_OF_TAR = 1024


@dataclass(frozen=True)
class History:
    """The pieces of a shard set: the living and the dead, each in reading order."""

    alive: Sequence[IndexRow]
    dead: Sequence[IndexRow]

    @property
    def pieces(self) -> list[IndexRow]:
        """All of them."""
        return [*self.alive, *self.dead]

    def continued(self, sources: Mapping[str, Source]) -> "History":
        """What stays alive and what is dead when the set shall hold just these objects.

        A piece lives when its object is wanted in the same split and made of the same; one that died so may come back. What does
        not touch its bytes, licence and source, is taken over from the object.
        """
        alive, dead = [], []
        for row in self.pieces:
            source = sources.get(row.key)
            if source and (source.fingerprint, source.asset.split) == (row.fingerprint, row.split):
                alive.append(replace(row, licence=source.asset.licence, source=source.asset.source))
            else:
                dead.append(row)
        return History(in_order(alive), in_order(dead))


def read_history(folder: Path, recipe: str, sizes: Mapping[str, int]) -> History | None:
    """The pieces of a shard set; None when it is to be written from nothing.

    That is so without an index, with one of other parameters, and when a shard is missing or too short. Bytes are not hashed.

    Args:
        folder: has the set's lists.
        recipe: hash of the parameters that the set is to be of.
        sizes: bytes of the files that are there, wherever the set's tars are.
    """
    if read_recipe(folder) != recipe:
        return None
    try:
        alive = list(read_rows(folder))
        history = History(alive, list(read_tombstones(folder, alive)))
    except InputError:
        return None
    return history if _is_long_enough(history, sizes) else None


def in_order(rows: list[IndexRow]) -> list[IndexRow]:
    """Rows by split, shard and place in it: the order of a set that is written from nothing."""
    return sorted(rows, key=lambda row: (SPLITS.index(row.split), row.shard, row.offset))


def _is_long_enough(history: History, sizes: Mapping[str, int]) -> bool:
    ends: dict[str, int] = {}
    for row in history.pieces:
        ends[row.shard] = max(ends.get(row.shard, 0), row.offset + row.size)
    return all(sizes.get(shard, 0) >= end + _END_OF_TAR for shard, end in ends.items())
