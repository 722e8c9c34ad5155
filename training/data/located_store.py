"""A shard set in two places: its lists in a folder, which DVC versions, its tars at the address that `location.json` names.

The folder's own index counts, whatever has become of the one beside the tars: it may name fewer objects than that, and where it
names bytes that are no longer there, reading them is an error.
"""

from collections.abc import Iterable
from pathlib import Path

from training.data.index import IndexRow, IndexRows, read_rows, read_tombstones
from training.data.shard_store import Extents, ShardStore, Write


class LocatedStore(ShardStore):
    """The lists of one place and the tars of another.

    Args:
        folder: has `index.parquet`.
        tars: has the tars.
    """

    def __init__(self, folder: Path, tars: ShardStore) -> None:
        self.folder, self._tars = folder, tars
        self.identity, self.remedy, self.skipped_bytes = tars.identity, tars.remedy, tars.skipped_bytes

    def where(self, name: str) -> str:
        """A tar's place."""
        return self._tars.where(name)

    def index(self) -> IndexRows:
        """The rows of the folder's index."""
        return read_rows(self.folder)

    def tombstones(self, rows: Iterable[IndexRow]) -> list[IndexRow]:
        """What is in the tars and no longer alive, as the folder says."""
        return read_tombstones(self.folder, rows)

    def size(self, name: str) -> int:
        """Bytes of a tar."""
        return self._tars.size(name)

    def copy(self, name: str, write: Write, start: int = 0, stop: int | None = None) -> None:
        """Hand the bytes start ≤ place < stop of a tar to `write`."""
        self._tars.copy(name, write, start, stop)

    def read(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes of a tar from `offset`; fewer where it ends."""
        return self._tars.read(name, offset, size)

    def read_pieces(self, name: str, extents: Extents) -> list[bytes]:
        """Several pieces of a tar."""
        return self._tars.read_pieces(name, extents)
