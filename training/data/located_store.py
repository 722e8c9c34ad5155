"""A shard set in two places: its lists in a folder, which DVC versions, its tars at the address that `location.json` names.

The folder's own index counts, whatever has become of the one beside the tars: it may name fewer objects than that, and where it
names bytes that are no longer there, reading them is an error.
"""

from collections.abc import Iterable
from pathlib import Path

from training.data.index import INDEX, TOMBSTONES, IndexRow, IndexRows
from training.data.shard_store import Extents, LocalStore, ShardStore, Write


class LocatedStore(ShardStore):
    """The lists of one place and the tars of another.

    Args:
        folder: has `index.parquet`.
        tars: has the tars.
    """

    def __init__(self, folder: Path, tars: ShardStore) -> None:
        self._lists, self._tars = LocalStore(folder), tars
        self.remote = tars.remote
        self.identity, self.remedy, self.skipped_bytes = tars.identity, tars.remedy, tars.skipped_bytes

    def where(self, name: str) -> str:
        """A file's place."""
        return self._that_has(name).where(name)

    def index(self) -> IndexRows:
        """The rows of the folder's index."""
        return self._lists.rows()

    def tombstones(self, rows: Iterable[IndexRow]) -> list[IndexRow]:
        """What is in the tars and no longer alive, as the folder says."""
        return self._lists.tombstones(rows)

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return self._that_has(name).size(name)

    def copy(self, name: str, write: Write, start: int = 0, stop: int | None = None) -> None:
        """Hand the bytes start ≤ place < stop of a file to `write`."""
        self._that_has(name).copy(name, write, start, stop)

    def read(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes of a tar from `offset`; fewer where it ends."""
        return self._tars.read(name, offset, size)

    def read_pieces(self, name: str, extents: Extents) -> list[bytes]:
        """Several pieces of a tar."""
        return self._tars.read_pieces(name, extents)

    def _that_has(self, name: str) -> ShardStore:
        return self._lists if name in (INDEX, TOMBSTONES) else self._tars
