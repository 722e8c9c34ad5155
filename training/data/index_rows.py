"""Rows of a shard set's index, held as columns.

A set of 800,000 objects is a table of some hundred megabytes; as Python objects it would be gigabytes, which every worker process
copies as soon as it counts references to them. Arrow's columns hold none: processes that are forked share them, and those that
are spawned are sent the bare buffers. A row becomes an `IndexRow` when it is asked for.
"""

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Self, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

# Rows made at a time where all are asked for.
_AT_ONCE = 4096


@dataclass(frozen=True)
class IndexRow:
    """One object in one shard."""

    shard: str
    """File name of the tar."""
    key: str
    """WebDataset key: the object's uid."""
    offset: int
    """Byte at which the object's first tar header starts."""
    size: int
    """Bytes of the object's members, headers and padding included."""
    sha256: str
    """Hex SHA-256 of those bytes."""
    views: int
    split: str
    licence: str
    source: str
    fingerprint: str = ""
    """What the object was made of; another one means that it is to be written anew. Empty where the writer does not say."""
    members: str = ""
    """Extensions of the members in the tar's order, joined by slashes, which none of them holds. Empty where members cannot be
    found by their sizes alone, or the writer does not say: the object is then read whole."""
    sizes: tuple[int, ...] = ()
    """Bytes of each member's content."""
    checks: bytes = b""
    """The first 8 bytes of the SHA-256 of each member's content, one after the other."""


TYPES: dict[str, pa.DataType] = {
    "shard": pa.string(),
    "key": pa.string(),
    "offset": pa.int64(),
    "size": pa.int64(),
    "sha256": pa.string(),
    "views": pa.int64(),
    "split": pa.string(),
    "licence": pa.string(),
    "source": pa.string(),
    "fingerprint": pa.string(),
    "members": pa.string(),
    "sizes": pa.list_(pa.int32()),
    "checks": pa.binary(),
}
_SIZES = list(TYPES).index("sizes")
# Few values for many rows: each is kept once.
REPEATED = ("shard", "split", "licence", "source", "members")


class IndexRows(Sequence[IndexRow]):
    """The rows of an index, in its order.

    Args:
        table: one column for each field of `IndexRow`.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table.select(list(TYPES)).unify_dictionaries()

    @classmethod
    def of(cls, rows: Iterable[IndexRow]) -> Self:
        """Rows that are there as objects."""
        rows = list(rows)
        columns = [pa.array([getattr(row, name) for row in rows], kind) for name, kind in TYPES.items()]
        return cls(pa.table(columns, names=list(TYPES)))

    @property
    def table(self) -> pa.Table:
        """The columns."""
        return self._table

    @cached_property
    def views(self) -> Int[np.ndarray, " n"]:
        """How many views each object has."""
        return self._table["views"].to_numpy()

    @property
    def shards(self) -> list[str]:
        """Names of the shards in the order in which they come first."""
        return pc.unique(self._table["shard"]).to_pylist()

    @property
    def samples_of_shards(self) -> tuple[int, ...]:
        """How many rows lie in each shard, in the order of the rows: what the order `window` of a plan needs."""
        return tuple(len(list(run)) for _, run in groupby(self._table["shard"].to_pylist()))

    @property
    def ends_of_shards(self) -> dict[str, int]:
        """The byte after the last row of each shard."""
        ends = pa.table({"shard": self._table["shard"], "end": pc.add(self._table["offset"], self._table["size"])})
        largest = ends.group_by("shard").aggregate([("end", "max")])
        return dict(zip(largest["shard"].to_pylist(), largest["end_max"].to_pylist(), strict=True))

    def of_split(self, split: str) -> "IndexRows":
        """The rows of one split."""
        return IndexRows(self._table.filter(pc.equal(self._table["split"], split)))

    def with_member(self, name: str) -> "IndexRows":
        """The rows of objects that have a member of this extension, and those whose members are not listed."""
        members = self._table["members"].cast(pa.string())
        pattern = rf"(^|/){re.escape(name)}(/|$)"
        return IndexRows(self._table.filter(pc.or_(pc.equal(members, ""), pc.match_substring_regex(members, pattern))))

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, number: int) -> IndexRow: ...
    @overload
    def __getitem__(self, number: slice) -> "IndexRows": ...
    def __getitem__(self, number: int | slice) -> "IndexRow | IndexRows":
        if isinstance(number, slice):
            return IndexRows(self._table.take(np.arange(len(self))[number]))
        place = operator.index(number)
        if not -len(self) <= place < len(self):
            raise IndexError(f"row {place} of {len(self)}")
        place %= len(self)
        return _row([value(place) for value in self._values])

    def __iter__(self) -> Iterator[IndexRow]:
        for start in range(0, len(self), _AT_ONCE):
            columns = [column.to_pylist() for column in self._table.slice(start, _AT_ONCE).columns]
            yield from map(_row, map(list, zip(*columns, strict=True)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} rows)"

    def __getstate__(self) -> dict[str, Any]:
        return {"_table": self._table}

    @cached_property
    def _values(self) -> list[Callable[[int], Any]]:
        """For each column what gives its value at a place."""
        # Each in one piece: to find a row's chunk takes longer than to read it.
        self._table = self._table.combine_chunks()
        # What reading and filtering took on the way is as much again.
        pa.default_memory_pool().release_unused()
        return [_value_at(column) for column in self._table.columns]


def _value_at(chunks: pa.ChunkedArray) -> Callable[[int], Any]:
    """What gives a column's value at a place; `as_py` of numbers, lists and repeated texts takes several times as long."""
    if chunks.num_chunks != 1:
        return lambda place: chunks[place].as_py()
    column = chunks.chunk(0)
    if pa.types.is_dictionary(column.type):
        texts, numbers = column.dictionary.to_pylist(), column.indices.to_numpy()
        return lambda place: texts[numbers[place]]
    if pa.types.is_integer(column.type):
        return column.to_numpy().item
    if pa.types.is_list(column.type):
        values, ends = column.values.to_numpy(), column.offsets.to_numpy()
        return lambda place: values[ends[place] : ends[place + 1]].tolist()
    return lambda place: column[place].as_py()


def _row(row: list[Any]) -> IndexRow:
    row[_SIZES] = tuple(row[_SIZES])
    return IndexRow(*row)
