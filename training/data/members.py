"""The members of one object: found in its piece of a tar without copying any, or by the index without reading the others.

Each training sample is two views out of many. `tarfile` takes as long for a walk over all headers as for decoding a small
picture, and reading and hashing all views takes about as long again. So the index lists what an object's members are, how
large, and the start of each one's hash: where a member lies follows from the sizes before it.

Plain headers, which is what shards have, are read here; anything else (long names, links, sizes over 8 GiB) is left to `tarfile`,
and an object that has such members is not listed and is read whole. Checksums of headers are not looked at: contents have their
hashes, and a header that is read alone must hold the right name.
"""

import hashlib
import io
import mmap
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from stage.foreign_files import block_size
from stage.foreign_files import members as walked
from training.data.index_rows import IndexRow

_BLOCK = tarfile.BLOCKSIZE
_NAME = 100
_CHECK = 8
_SEPARATOR = "/"
_MAX_LISTED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Member:
    """Where one member lies, as the index has it."""

    name: str
    """Its extension: what follows the key and a dot."""
    start: int
    """Byte of the shard at which its header starts."""
    size: int
    """Bytes of its content, which follows the header."""
    check: bytes

    @property
    def stop(self) -> int:
        """Byte after its content."""
        return self.start + _BLOCK + self.size

    def content(self, piece: memoryview, key: str) -> memoryview | None:
        """Its content when the piece, header and content, is what the index has; None otherwise."""
        content = piece[_BLOCK:]
        named = bytes(piece[:_NAME]).rstrip(b"\0") == f"{key}.{self.name}".encode()
        return content if named and len(content) == self.size and _check(content) == self.check else None


def tar_members(data: bytes) -> dict[str, memoryview]:
    """Members of an object's piece of a tar by their extension, the part of the name after the key.

    Raises:
        tarfile.TarError: when it is not a tar.
    """
    view = memoryview(data)
    try:
        return {_extension(name): view[start : start + size] for name, start, size in _plain_members(data)}
    except _NotPlainError:
        return _by_tarfile(data)


def listing(data: bytes | bytearray, key: str) -> tuple[str, tuple[int, ...], bytes]:
    """What the index says of an object's members: `members`, `sizes` and `checks` of its row.

    All empty when one of them has no plain header, another key, or a name that comes twice.

    Args:
        data: its piece of a tar.
        key: the object's.

    Raises:
        tarfile.TarError: when it is not a tar.
    """
    found, view = _listable(data, key), memoryview(data)
    checks = b"".join(_check(view[start : start + size]) for _, start, size in found)
    return *_layout(found), checks


def layout(data: bytes | bytearray, key: str) -> tuple[str, tuple[int, ...]]:
    """The same without the hashes, which are most of the work; raises as `listing` does."""
    return _layout(_listable(data, key))


def _layout(found: Sequence[tuple[str, int, int]]) -> tuple[str, tuple[int, ...]]:
    return _SEPARATOR.join(_extension(name) for name, _, _ in found), tuple(size for _, _, size in found)


def _listable(data: bytes | bytearray, key: str) -> list[tuple[str, int, int]]:
    """Name, place and size of an object's members; none when the index cannot list them."""
    try:
        found = list(_plain_members(data))
    except _NotPlainError:
        return []
    names = [_extension(name) for name, _, _ in found]
    as_expected = [f"{key}.{name}" for name in names] == [name for name, _, _ in found]
    small = all(size <= _MAX_LISTED for _, _, size in found)
    return found if as_expected and small and len(set(names)) == len(names) else []


def sample_extents(tar: mmap.mmap) -> dict[str, tuple[int, int]]:
    """Where each sample of a whole tar starts and ends, by its key.

    Raises:
        tarfile.TarError: when it is not a tar.
    """
    extents: dict[str, tuple[int, int]] = {}
    for name, start, stop in _members_of_tar(tar):
        key = name.partition(".")[0]
        extents[key] = extents.get(key, (start, 0))[0], stop
    return extents


def _members_of_tar(tar: mmap.mmap) -> list[tuple[str, int, int]]:
    """Name of each member, where its headers start and where what belongs to it ends."""
    try:
        return [(name, start - _BLOCK, start - _BLOCK + _occupied(size)) for name, start, size in _plain_members(tar)]
    except _NotPlainError:
        with tarfile.open(fileobj=tar, mode="r:") as archive:
            found = list(walked(archive))
        return [(m.name, m.offset, m.offset_data - _BLOCK + _occupied(m.size)) for m in found]


@lru_cache(maxsize=1024)
def listed_names(members: str) -> tuple[str, ...]:
    """The extensions that a row of the index lists, in the tar's order; most rows share one list."""
    return tuple(members.split(_SEPARATOR)) if members else ()


def listed(row: IndexRow, names: Iterable[str]) -> list[Member]:
    """Where some members of an object lie, in the tar's order.

    Raises:
        KeyError: when there is no such member.
        ValueError: when the row is not of one piece.
    """
    places = _places(row.members)
    if not len(places) == len(row.sizes) == len(row.checks) / _CHECK:
        raise ValueError(f"{len(places)} members, {len(row.sizes)} sizes and {len(row.checks)} bytes of hashes")
    starts = list(accumulate(map(_occupied, row.sizes), initial=row.offset))
    return [
        Member(name, starts[place], row.sizes[place], row.checks[place * _CHECK : (place + 1) * _CHECK])
        for place, name in sorted({places[name]: name for name in names}.items())
    ]


@lru_cache(maxsize=1024)
def _places(members: str) -> dict[str, int]:
    return {name: place for place, name in enumerate(listed_names(members))}


class _NotPlainError(Exception):
    """A header whose name or size does not stand where they always do."""


def _plain_members(data: bytes | bytearray | mmap.mmap) -> Iterator[tuple[str, int, int]]:
    """Name, place of the content and size of each member.

    Raises:
        tarfile.TarError: when it is not a tar.
    """
    position = 0
    while position < len(data) and data[position]:
        start = position + _BLOCK
        header = data[position:start]
        if len(header) == _BLOCK and not _plain(header):
            raise _NotPlainError
        size = block_size(header[124:136])
        if start + size > len(data):
            raise tarfile.ReadError("unexpected end of data")
        yield header[:_NAME].rstrip(b"\0").decode(), start, size
        position += _occupied(size)


def _occupied(size: int) -> int:
    """Bytes that a member of this size takes: header, content and padding."""
    return _BLOCK + -(-size // _BLOCK) * _BLOCK


def _check(content: memoryview) -> bytes:
    return hashlib.sha256(content).digest()[:_CHECK]


def _plain(header: bytes | bytearray) -> bool:
    """Whether a header is one of a regular file whose name and size stand where they always do."""
    return header[156:157] in (b"0", b"\0") and header[124] < 0x80


def _extension(name: str) -> str:
    """What follows the first dot of a name; as for webdataset, dots of folders do not count."""
    return name.rpartition("/")[2].partition(".")[2]


def _by_tarfile(data: bytes) -> dict[str, memoryview]:
    members = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in walked(archive):
            stream = archive.extractfile(member)
            if stream:
                members[_extension(member.name)] = memoryview(stream.read())
    return members
