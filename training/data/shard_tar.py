"""The tar of a shard: byte for byte what `webdataset.TarWriter` writes, at little more than the cost of the bytes.

`tarfile` makes each header of a dozen fields, and in the mode in which `TarWriter` opens it cuts what is written into pieces of
10 KiB, each time copying all that is left. Headers of one tar differ in name, size and checksum alone, so these are filled into
one that `tarfile` has made; whatever such a header cannot hold is left to `tarfile`.
"""

import tarfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import webdataset

if TYPE_CHECKING:
    from _typeshed import SupportsRead

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
        super().__init__(str(path), mtime=0, encoder=False)
        self.tarstream = _PlainTar(fileobj=self.own_fileobj, mode="w")


class _PlainTar(tarfile.TarFile):
    """A tar that fills in the headers of plain files by itself."""

    def addfile(self, tarinfo: tarfile.TarInfo, fileobj: "SupportsRead[bytes] | None" = None) -> None:
        """Add a file of this content."""
        name = tarinfo.name.encode()
        if fileobj is None or len(name) > _NAME.stop or len(name) != len(tarinfo.name) or tarinfo.size > _LARGEST:
            super().addfile(tarinfo, fileobj)
            return
        assert self.fileobj is not None  # noqa: S101 - it is open
        header = _header(name, tarinfo.size, tarinfo.mode, int(tarinfo.mtime), tarinfo.uname, tarinfo.gname)
        padding = -tarinfo.size % _BLOCK
        self.fileobj.write(header)
        self.fileobj.write(fileobj.read())
        self.fileobj.write(bytes(padding))
        self.offset += _BLOCK + tarinfo.size + padding


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
