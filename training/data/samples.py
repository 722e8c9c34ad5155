"""Samples as the index promises them: whatever is used is checked against its hash at every read, whichever way the bytes came.

A sample is read whole, or some of its members alone. A cached copy that fails the check is compared with the origin once: where
the origin has the right bytes they are used, and the copy goes; where it has not, the error names shard, key and offset.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from stage.errors import InputError
from training.data.cache import CachedShard, ShardCache
from training.data.index_rows import IndexRow
from training.data.members import Member, listed, listed_names, tar_members
from training.data.shard_store import Extents, LocalStore, ShardStore

Content = TypeVar("Content")


@dataclass(frozen=True)
class Sample:
    """One sample, of which members can be read by their extension."""

    names: Collection[str]
    read: Callable[[Iterable[str]], Mapping[str, memoryview]]
    """The members asked for, if not more; raises as `CheckedSamples.members` does."""


class CheckedSamples:
    """The bytes of a set's samples.

    Args:
        store: where the shards are.
        cache: keeps whole shards on the local disk; without one each sample is asked for where it is.
    """

    def __init__(self, store: ShardStore, cache: ShardCache | None = None) -> None:
        self.store, self.cache = store, cache

    def read(self, row: IndexRow) -> bytes:
        """The bytes of one sample.

        Raises:
            InputError: naming shard, key and offset when the bytes are not what was written; naming the address when the shard is
                missing.
            StreamError: naming the address when it cannot be reached.
        """
        return self._read(_Wanted(row, ((row.offset, row.size),), partial(_whole, row)))

    def open(self, row: IndexRow) -> Sample:
        """A sample by its members. Where its row does not list them, it is read whole.

        Raises:
            InputError: as when it is read whole.
            StreamError: naming the address when it cannot be reached.
            tarfile.TarError: when what was written is no tar.
        """
        if row.members:
            return Sample(listed_names(row.members), partial(self.members, row))
        whole = tar_members(self.read(row))
        return Sample(whole, lambda _: whole)

    def members(self, row: IndexRow, names: Iterable[str]) -> dict[str, memoryview]:
        """Some members of a sample whose row lists them; those that lie together are read together.

        Args:
            row: of the sample.
            names: the members' extensions.

        Raises:
            InputError: as when the sample is read whole; and naming the member.
            KeyError: when the row lists no such member.
            StreamError: naming the address when it cannot be reached.
        """
        members = listed(row, names)
        runs = _runs(members, self.store.skipped_bytes)
        extents = tuple((run[0].start, run[-1].stop - run[0].start) for run in runs)
        return self._read(_Wanted(row, extents, partial(_contents, row, runs)))

    def _read(self, wanted: "_Wanted[Content]") -> Content:
        if self.cache is None:
            return self._from_origin(wanted)
        with self.cache.lease(self.store, wanted.row.shard) as copy:
            if copy is None:
                return self._from_origin(wanted)
            try:
                return wanted.content(_pieces_of(copy, wanted.extents))
            except _DamagedError:
                content = self._from_origin(wanted)
                copy.discard()
                return content

    def _from_origin(self, wanted: "_Wanted[Content]") -> Content:
        # What a network damages is right the second time; what a disk holds is not.
        row, what = wanted.row, ""
        for _ in range(1 if isinstance(self.store, LocalStore) else 2):
            try:
                return wanted.content(self.store.read_pieces(row.shard, wanted.extents))
            except _DamagedError as error:
                what = str(error)
        raise InputError(
            f"{self.store.where(row.shard)} is damaged at byte {row.offset}, object {row.key}{what}", self.store.remedy
        )


class _DamagedError(Exception):
    """Bytes are not those that the index names; the text names the member, where it is known."""


@dataclass(frozen=True)
class _Wanted(Generic[Content]):
    """Pieces of a shard, and what checks them and takes them apart."""

    row: IndexRow
    extents: Extents
    content: Callable[[Sequence[bytes]], Content]


def _pieces_of(copy: CachedShard, extents: Extents) -> list[bytes]:
    return [copy.read(offset, size) for offset, size in extents]


def _whole(row: IndexRow, pieces: Sequence[bytes]) -> bytes:
    (data,) = pieces
    if len(data) != row.size or hashlib.sha256(data).hexdigest() != row.sha256:
        raise _DamagedError
    return data


def _runs(members: Sequence[Member], skipped: int) -> list[list[Member]]:
    """Members that are read at once: those with no more between them than `skipped` bytes."""
    runs: list[list[Member]] = []
    for member in members:
        if runs and member.start - runs[-1][-1].stop <= skipped:
            runs[-1].append(member)
        else:
            runs.append([member])
    return runs


def _contents(row: IndexRow, runs: Sequence[Sequence[Member]], pieces: Sequence[bytes]) -> dict[str, memoryview]:
    found: dict[str, memoryview] = {}
    for run, piece in zip(runs, pieces, strict=True):
        view, start = memoryview(piece), run[0].start
        for member in run:
            content = member.content(view[member.start - start : member.stop - start], row.key)
            if content is None:
                raise _DamagedError(f", member {member.name} at byte {member.start}")
            found[member.name] = content
    return found
