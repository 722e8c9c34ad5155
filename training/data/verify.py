"""Verification of a shard set: every byte hashed again, every member counted, and each damage named by shard, key and byte.

Between two objects of the index, and after the last, a tar must hold nothing; a set must have no tars but those of its lists.
Shards are read side by side: hashing and reading leave the interpreter free, so threads are enough.
"""

import hashlib
import io
import os
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from blender_render.view_codecs import view_numbers
from stage.progress import Progress
from training.data.index import INDEX, IndexRow, read_rows, read_tombstones
from training.data.members import listing

_PICTURES = (".png", ".webp", ".jpg")
_CHUNK = 1 << 20


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
class Verification:
    """What a shard set was found to hold; objects and views are those alive and whole."""

    shards: int
    objects: int
    views: int
    bytes: int
    """Of all shards."""
    damages: list[Damage]


@dataclass(frozen=True)
class _Contents:
    """What was found in one shard, or in one object of it."""

    objects: int = 0
    views: int = 0
    bytes: int = 0
    damages: tuple[Damage, ...] = ()


def verify(folder: Path, workers: int = 0) -> Verification:
    """Read a whole shard set and compare it with its index and its list of tombstones.

    Args:
        folder: the shard set.
        workers: shards read side by side; 0 takes one per CPU core.

    Raises:
        InputError: when there is no index, or a list is damaged.
    """
    rows = read_rows(folder)
    dead = read_tombstones(folder, rows)
    pieces: dict[str, list[IndexRow]] = {}
    for row in (*rows, *dead):
        pieces.setdefault(row.shard, []).append(row)
    gone = frozenset((row.shard, row.offset) for row in dead)
    found: list[_Contents] = []
    with (
        Progress("verify", len(pieces), "shards") as progress,
        ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool,
    ):
        for contents in pool.map(lambda item: _shard(folder / item[0], item[1], gone), sorted(pieces.items())):
            found.append(contents)
            progress.advance()
    damages = [*_keys(rows), *_strangers(folder, pieces), *(damage for contents in found for damage in contents.damages)]
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


def _strangers(folder: Path, known: Iterable[str]) -> Iterator[Damage]:
    for name in sorted({path.name for path in folder.glob("*.tar")} - set(known)):
        yield Damage(name, "", 0, f"{INDEX} does not list this shard")


def _shard(path: Path, rows: list[IndexRow], gone: frozenset[tuple[str, int]]) -> _Contents:
    """Every piece of a shard in turn, and that there is nothing beside them."""
    rows = sorted(rows, key=lambda row: row.offset)
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            found = [_piece(stream, row, size, (row.shard, row.offset) not in gone) for row in rows]
            gaps = tuple(_gaps(rows))
            tail = tuple(_tail(stream, rows, size))
    except FileNotFoundError:
        return _Contents(damages=tuple(Damage(row.shard, row.key, row.offset, "the shard is missing") for row in rows[:1]))
    except OSError as error:
        return _Contents(damages=(Damage(path.name, "", 0, f"cannot be read: {error.strerror}"),))
    damages = tuple(damage for item in found for damage in item.damages)
    objects, views = sum(item.objects for item in found), sum(item.views for item in found)
    return _Contents(objects, views, size, (*damages, *gaps, *tail))


def _piece(stream: BinaryIO, row: IndexRow, file_size: int, alive: bool) -> _Contents:
    """One object: its bytes, its members' names and their number."""
    stream.seek(row.offset)
    data = stream.read(row.size)
    if len(data) < row.size:
        place = max(file_size, row.offset)
        return _damaged(row, place, f"the shard ends here, {row.size - len(data)} bytes of the object before its end")
    if hashlib.sha256(data).hexdigest() != row.sha256:
        return _damaged(row, row.offset + _first_damage(data), f"its bytes are not those that {INDEX} names")
    names = [member.name for member in _members(data)]
    keys, views = {name.partition(".")[0] for name in names}, len(view_numbers(name.partition(".")[2] for name in names))
    if keys != {row.key}:
        return _damaged(row, row.offset, f"here lies {', '.join(sorted(keys)) or 'nothing'}: {INDEX} is of other shards")
    if views != row.views:
        return _damaged(row, row.offset, f"it has {views} views, not {row.views}")
    if row.members and (row.members, row.sizes, row.checks) != listing(data, row.key):
        return _damaged(row, row.offset, f"its members are not those that {INDEX} lists")
    return _Contents(1, views) if alive else _Contents()


def _damaged(row: IndexRow, offset: int, what: str) -> _Contents:
    return _Contents(damages=(Damage(row.shard, row.key, offset, what),))


def _members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return archive.getmembers()


def _first_damage(data: bytes) -> int:
    """Where in an object's bytes the damage starts, as far as headers' and pictures' own checksums tell; 0 otherwise."""
    place = 0
    while place < len(data):
        try:
            member = tarfile.TarInfo.frombuf(data[place : place + tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        except tarfile.TarError:
            return place
        start = place + tarfile.BLOCKSIZE
        if member.name.endswith(_PICTURES) and not _is_picture(data[start : start + member.size]):
            return start
        place = start + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return 0


def _is_picture(data: bytes) -> bool:
    """Whether a picture can be opened and, of PNG, its checksums are right."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def _gaps(rows: Sequence[IndexRow]) -> Iterator[Damage]:
    """Bytes before or between objects that are of none, or of two."""
    end = 0
    for row in rows:
        if row.offset != end:
            what = "bytes before this are of no listed object" if row.offset > end else "it starts within another object"
            yield Damage(row.shard, row.key, min(end, row.offset), f"{what}: {INDEX} is of other shards")
        end = max(end, row.offset + row.size)


def _tail(stream: BinaryIO, rows: Sequence[IndexRow], size: int) -> Iterator[Damage]:
    """What follows the last object must be the end of a tar: zeros up to a whole record."""
    end = max(row.offset + row.size for row in rows)
    if size < end:
        return
    records = -(-(end + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE)
    place = _first_nonzero(stream, end)
    if place is not None:
        yield Damage(rows[0].shard, "", place, "bytes that are of no listed object")
    elif size < records * tarfile.RECORDSIZE:
        yield Damage(rows[0].shard, "", size, "the shard ends before the end of the tar")
    elif size > records * tarfile.RECORDSIZE:
        yield Damage(rows[0].shard, "", records * tarfile.RECORDSIZE, "bytes after the end of the tar")


def _first_nonzero(stream: BinaryIO, start: int) -> int | None:
    stream.seek(start)
    while chunk := stream.read(_CHUNK):
        if rest := chunk.lstrip(b"\0"):
            return start + len(chunk) - len(rest)
        start += len(chunk)
    return None
