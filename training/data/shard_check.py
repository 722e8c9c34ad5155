"""One shard read from start to end and compared with the lists: what is damaged, by key and byte.

Between two objects, and after the last, a tar must hold nothing.
"""

import hashlib
import io
import tarfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from blender_render.view_codecs import view_numbers
from stage.errors import InputError
from stage.foreign_files import members
from training.data.index import INDEX, IndexRow
from training.data.members import layout, listed_names
from training.data.shard_store import ShardStore

_PICTURES, _FORMATS = (".png", ".webp", ".jpg"), ("PNG", "WEBP", "JPEG")


@dataclass(frozen=True)
class Damage:
    """One thing that is not as it was written."""

    shard: str
    key: str
    """Of the object; empty where it concerns none."""
    offset: int
    """Byte of the shard at which it starts, as near as can be told."""
    what: str

    def __str__(self) -> str:
        """One line."""
        whose = f" object {self.key}:" if self.key else ""
        return f"{self.shard}: byte {self.offset}:{whose} {self.what}"


@dataclass(frozen=True)
class ShardContents:
    """What was found in one shard, or in one object of it; objects and views are those alive and whole."""

    objects: int = 0
    views: int = 0
    bytes: int = 0
    damages: tuple[Damage, ...] = ()


def check_shard(
    store: ShardStore, name: str, rows: Sequence[IndexRow], gone: frozenset[tuple[str, int]]
) -> ShardContents:
    """Every piece of a shard in turn, and that there is nothing beside them.

    Args:
        store: has the shard.
        name: of the shard.
        rows: its pieces, at least one, in any order.
        gone: shard and offset of those that are dead, which are checked and not counted.

    Raises:
        StreamError: when the store cannot be reached.
    """
    rows = sorted(rows, key=lambda row: row.offset)
    reading = _Reading(rows)
    try:
        store.copy(name, reading.feed)
    except InputError:
        return ShardContents(damages=(Damage(name, rows[0].key, rows[0].offset, "the shard is missing"),))
    except OSError as error:
        return ShardContents(damages=(Damage(name, "", 0, f"cannot be read: {error.strerror}"),))
    found = [*reading.checked, *reading.cut_off()]
    alive = [(row, item) for row, item in found if (row.shard, row.offset) not in gone]
    objects, views = (sum(getattr(item, what) for _, item in alive) for what in ("objects", "views"))
    damages = [damage for _, item in found for damage in item.damages]
    return ShardContents(objects, views, reading.at, (*damages, *_gaps(rows), *reading.tail()))


class _Reading:
    """A pass over the bytes of a shard, of which no more are kept than those of the pieces just met.

    Args:
        rows: the pieces, in order of offset.
    """

    def __init__(self, rows: Sequence[IndexRow]) -> None:
        self.at = 0
        self.checked: list[tuple[IndexRow, ShardContents]] = []
        self._name, self._end = rows[0].shard, max(row.offset + row.size for row in rows)
        self._waiting, self._open = deque(rows), list[tuple[IndexRow, bytearray]]()
        self._stray: int | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the shard."""
        start, stop = self.at, self.at + len(data)
        while self._waiting and self._waiting[0].offset < stop:
            self._open.append((self._waiting.popleft(), bytearray()))
        view = memoryview(data)
        for row, piece in self._open:
            piece += view[max(0, row.offset - start) : row.offset + row.size - start]
        self.checked += [(row, _contents(row, piece)) for row, piece in self._open if len(piece) == row.size]
        self._open = [(row, piece) for row, piece in self._open if len(piece) < row.size]
        if self._stray is None and stop > self._end:
            behind = data[max(0, self._end - start) :]
            if rest := behind.lstrip(b"\0"):
                self._stray = stop - len(rest)
        self.at = stop

    def cut_off(self) -> Iterator[tuple[IndexRow, ShardContents]]:
        """The pieces that the end of the shard has cut off."""
        for row, had in [*((row, len(piece)) for row, piece in self._open), *((row, 0) for row in self._waiting)]:
            what = f"the shard ends here, {row.size - had} bytes of the object before its end"
            yield row, _damaged(row, max(self.at, row.offset), what)

    def tail(self) -> Iterator[Damage]:
        """What follows the last object must be the end of a tar: zeros up to a whole record."""
        if self.at < self._end:
            return
        size = -(-(self._end + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
        if self._stray is not None:
            yield Damage(self._name, "", self._stray, "bytes that are of no listed object")
        elif self.at < size:
            yield Damage(self._name, "", self.at, "the shard ends before the end of the tar")
        elif self.at > size:
            yield Damage(self._name, "", size, "bytes after the end of the tar")


def _contents(row: IndexRow, data: bytearray) -> ShardContents:
    """One object: its bytes, its members' names and their number."""
    if hashlib.sha256(data).hexdigest() != row.sha256:
        return _damaged(row, row.offset + _first_damage(data), f"its bytes are not those that {INDEX} names")
    try:
        found = layout(data, row.key)
        # A layout says that all members are the object's; without one the names are looked at themselves.
        names = [f"{row.key}.{name}" for name in listed_names(found[0])] or [member.name for member in _members(data)]
    except tarfile.TarError as error:
        return _damaged(row, row.offset, f"here lies no tar ({error}), as {INDEX} has it")
    keys = {name.partition(".")[0] for name in names}
    if keys != {row.key}:
        others = ", ".join(sorted(keys)) or "nothing"
        return _damaged(row, row.offset, f"here lies {others}: {INDEX} is of other shards")
    views = len(view_numbers(name.partition(".")[2] for name in names))
    if views != row.views:
        return _damaged(row, row.offset, f"it has {views} views, not {row.views}")
    # Their hashes were made of the bytes whose hash is right; that the row is as it was written, the index's own checksums say.
    if row.members and (row.members, row.sizes) != found:
        return _damaged(row, row.offset, f"its members are not those that {INDEX} lists")
    return ShardContents(1, views)


def _damaged(row: IndexRow, offset: int, what: str) -> ShardContents:
    return ShardContents(damages=(Damage(row.shard, row.key, offset, what),))


def _members(data: bytes | bytearray) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return list(members(archive))


def _first_damage(data: bytes | bytearray) -> int:
    """Where in an object's bytes the damage starts, as far as headers' and pictures' own checksums tell; 0 otherwise."""
    place = 0
    while place < len(data):
        try:
            member = tarfile.TarInfo.frombuf(data[place : place + tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        except tarfile.TarError:
            return place
        start = place + tarfile.BLOCKSIZE
        if member.size < 0:
            return place
        if member.name.endswith(_PICTURES) and not _is_picture(data[start : start + member.size]):
            return start
        place = start + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return 0


def _is_picture(data: bytes | bytearray) -> bool:
    """Whether a picture can be opened and, of PNG, its checksums are right."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def _gaps(rows: Sequence[IndexRow]) -> Iterator[Damage]:
    """Bytes before or between objects that are of none, or of two."""
    end = 0
    for row in rows:
        if row.offset != end:
            early = row.offset < end
            what = "it starts within another object" if early else "bytes before this are of no listed object"
            yield Damage(row.shard, row.key, min(end, row.offset), f"{what}: {INDEX} is of other shards")
        end = max(end, row.offset + row.size)
