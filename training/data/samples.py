"""Samples as the index promises them: every read is checked against its hash, whichever way the bytes came.

A cached copy that fails the check is compared with the origin once: where the origin has the right bytes they are used, and the
copy goes; where it has not, the error names shard, key and offset.
"""

import hashlib

from stage.errors import InputError
from training.data.cache import ShardCache
from training.data.index import IndexRow
from training.data.shard_store import LocalStore, ShardStore


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
        if self.cache is None:
            return self._from_origin(row)
        with self.cache.lease(self.store, row.shard) as copy:
            if copy is None:
                return self._from_origin(row)
            data = copy.read(row.offset, row.size)
            if not _is_whole(data, row):
                data = self._from_origin(row)
                copy.discard()
            return data

    def _from_origin(self, row: IndexRow) -> bytes:
        # What a network damages is right the second time; what a disk holds is not.
        for _ in range(1 if isinstance(self.store, LocalStore) else 2):
            data = self.store.read(row.shard, row.offset, row.size)
            if _is_whole(data, row):
                return data
        raise InputError(
            f"{self.store.where(row.shard)} is damaged at byte {row.offset}, object {row.key}", self.store.remedy
        )


def _is_whole(data: bytes, row: IndexRow) -> bool:
    return len(data) == row.size and hashlib.sha256(data).hexdigest() == row.sha256
