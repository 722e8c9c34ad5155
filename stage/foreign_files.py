"""JSON, gzip and tar files that strangers wrote: what they say of themselves bounds neither time nor memory nor place."""

import gzip
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MOST_INFLATED = 4 * 2**30
"""Bytes that may come out of a compressed file: more than any published list or table of annotations."""
_PIECE = 1 << 20
# Headers that say more of the next member: a long name, a link's, attributes (GNU, POSIX pax, Solaris).
_EXTENSIONS = {
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
}
_MOST_EXTENSION = 1 << 20


def parse_json(data: str | bytes | bytearray) -> Any:  # noqa: ANN401 - JSON is any value
    """The value of a JSON text.

    Raises:
        ValueError: when it is none, or nested deeper than Python follows.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class BoundedGzip(gzip.GzipFile):
    """A gzip file for reading that ends in an error once more comes out of it than is believable.

    Args:
        path: the file.
        most: bytes that may come out.
    """

    def __init__(self, path: Path, most: int = MOST_INFLATED) -> None:
        self._left, self._most = most, most
        super().__init__(path, "rb")

    def read(self, size: int | None = -1) -> bytes:
        """Bytes of what was compressed, all of them where no number is given."""
        if size is not None and size >= 0:
            return self._counted(super().read(size))
        return b"".join(iter(lambda: self.read1(_PIECE), b""))

    def read1(self, size: int = -1) -> bytes:
        """What is there without waiting for more."""
        return self._counted(super().read1(size))

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill a buffer."""
        data = self.read(memoryview(buffer).nbytes)
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"more than {self._most:,} bytes come out of it")
        return data


class BoundedHeader(tarfile.TarInfo):
    """A tar header, for `tarfile.open(…, tarinfo=BoundedHeader)`, that announces no name and no attributes of any length.

    `tarfile` reads those whole before it gives the member, which of a compressed tar may be any amount.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The header of a block.

        Raises:
            tarfile.TarError: when what it announces is too long, or it is none.
        """
        header = super().frombuf(buf, encoding, errors)
        if header.type in _EXTENSIONS and not 0 <= header.size <= _MOST_EXTENSION:
            raise tarfile.ReadError(f"a name or attributes of {header.size:,} bytes")
        return header


def members(archive: tarfile.TarFile, *, files_alone: bool = False) -> Iterator[tarfile.TarInfo]:
    """The members of a tar one by one, before any is looked at or extracted.

    A size below zero would lead the walk back to where it was. Links lead `tarfile`'s own filter astray in Python before 3.11.13
    (CVE-2025-4517), and no archive of ours holds one.

    Args:
        archive: opened for reading.
        files_alone: whether whatever is neither a plain file nor a folder is refused.

    Raises:
        tarfile.TarError: when a member is not what it may be, or the tar is damaged.
    """
    try:
        for member in archive:
            if member.size < 0:
                raise tarfile.ReadError(f"{member.name[:80]!r} has {member.size} bytes")
            if files_alone and (not (member.isfile() or member.isdir()) or member.issparse()):
                raise tarfile.ReadError(f"{member.name[:80]!r} is a link or another special file")
            yield member
    except (ValueError, OverflowError) as error:
        raise tarfile.ReadError(" ".join(str(error).split())) from None


def write_member(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, name: str | None = None) -> None:
    """Write a plain file or folder of a tar; owner, mode and time are the writer's.

    `tarfile` itself extracts safely from Python 3.11.4 on, and Debian 12 has 3.11.2.

    Args:
        archive: opened for reading.
        member: one of `members(archive, files_alone=True)`.
        folder: where it goes, itself without links.
        name: the relative path there; the member's own where none is given.

    Raises:
        tarfile.TarError: when the path leads out of the folder, or the tar is cut short.
    """
    path = PurePosixPath(name or member.name)
    if path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise tarfile.ReadError(f"{str(path)[:80]!r} leads out of its folder")
    if member.isdir():
        (folder / path).mkdir(parents=True, exist_ok=True)
        return
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    if content is None:
        raise tarfile.ReadError(f"{str(path)[:80]!r} is no plain file")
    with content, (folder / path).open("wb") as stream:
        shutil.copyfileobj(content, stream)


def block_size(field: bytes | bytearray) -> int:
    """The size that a tar header states, of its twelve bytes of octal digits (POSIX ustar).

    Raises:
        tarfile.TarError: when they are none.
    """
    digits = field.strip(b" \0") or b"0"
    try:
        # An int may have a sign and underscores.
        return int(digits if digits.isdigit() else b"", 8)
    except ValueError:
        raise tarfile.ReadError("a size that is no octal number") from None
