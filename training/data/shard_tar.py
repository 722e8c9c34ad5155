"""The tar of a shard: byte for byte what `webdataset.TarWriter` writes, at little more than the cost of the bytes.

`tarfile` makes each header of a dozen fields, and in the mode in which `TarWriter` opens it cuts what is written into pieces of
10 KiB, each time copying all that is left. Here a sample is one piece, whose bytes are handed back to be hashed. Headers of one
tar differ in name, size and checksum alone, so these are filled into one that `tarfile` has made; whatever such a header cannot
hold is left to `tarfile`.
"""

import io
import tarfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeGuard

import webdataset

_BLOCK = tarfile.BLOCKSIZE
# Where the fields of a header stand (POSIX.1-1988, ustar).
_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 136), slice(148, 156)
_LARGEST = 8**11 - 1


class ShardTar(webdataset.TarWriter):
    """Writes samples, each a dictionary of bytes by extension with its `__key__`.

    Args:
        path: the tar; it is not written atomically.
    """

    def __init__(self, path: Path) -> None:
        self._left = io.BytesIO()
        super().__init__(self._left, mtime=0, encoder=False)
        self.tarstream = tarfile.TarFile(fileobj=self._left, mode="w")
        self._file, self._written = path.open("wb", buffering=0), 0

    def add(self, sample: Mapping[str, str | bytes]) -> tuple[int, bytes]:
        """Write a sample; the byte of the tar that it starts at, and its bytes."""
        key = str(sample["__key__"])
        members = {f"{key}.{name}": sample[name] for name in sorted(sample) if not name.startswith("_")}
        if _plain(members):
            return self._flush(piece for name, content in members.items() for piece in self._member(name, content))
        self.write(sample)
        return self._flush([self._taken()])

    def close(self) -> None:
        """Write the tar's end."""
        if not self._file.closed:
            # The end fills a record, whose size counts from the tar's first byte.
            self.tarstream.offset = self._written
            self.tarstream.close()
            self._flush([self._taken()])
            self._file.close()

    def _member(self, name: str, content: bytes) -> tuple[bytes, bytes, bytes]:
        header = _header(name.encode(), len(content), self.mode, int(self.mtime), self.user, self.group)
        return header, content, bytes(-len(content) % _BLOCK)

    def _taken(self) -> bytes:
        """What was left to `tarfile`."""
        data = self._left.getvalue()
        self._left.seek(0)
        self._left.truncate()
        return data

    def _flush(self, pieces: Iterable[bytes]) -> tuple[int, bytes]:
        start, data = self._written, b"".join(pieces)
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self._written += len(data)
        return start, data


def _plain(members: Mapping[str, str | bytes]) -> TypeGuard[Mapping[str, bytes]]:
    """Whether headers of this form hold all of these members."""
    return all(
        isinstance(content, bytes) and name.isascii() and len(name) <= _NAME.stop and len(content) <= _LARGEST
        for name, content in members.items()
    )


def _header(name: bytes, size: int, *common: int | str) -> bytes:
    template, total = _template(*common)
    header, digits = bytearray(template), b"%011o\0" % size
    header[: len(name)] = name
    header[_SIZE] = digits
    header[_CHECKSUM] = b"%06o\0 " % (total + sum(name) + sum(digits))
    return bytes(header)


@lru_cache
def _template(mode: int, mtime: int, user: str, group: str) -> tuple[bytes, int]:
    """The header of a file without name and size, and the sum of its bytes; its checksum counts as spaces."""
    member = tarfile.TarInfo()
    member.mode, member.mtime, member.uname, member.gname = mode, mtime, user, group
    header = bytearray(member.tobuf())
    header[_SIZE], header[_CHECKSUM] = bytes(12), b" " * 8
    return bytes(header), sum(header)
