"""Zip archives that strangers made, unpacked without trusting anything that they say about themselves.

Names may not lead out of the target, entries are regular files or folders, none replaces another, and what is limited is the
number of bytes that really come out.
"""

import errno
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from pydantic import Field

from stage.failures import FailureClass, ObjectFailedError
from stage.files import replacing_folder
from stage.parameters import Parameters

_CHUNK = 1 << 16
_ENCRYPTED = 0x1 | 0x40
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# A backslash and a colon are path syntax elsewhere, control characters nowhere a part of a name.
_FORBIDDEN = re.compile(r"[\\:\x00-\x1f\x7f]")
_LONGEST_NAME = 255
_LONGEST_PATH = 1024
_DEEPEST_PATH = 32
# The ratio of a small archive says little and harms nobody.
_RATIO_COUNTS_FROM = 1 << 20
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, OverflowError, ValueError)
# What seeking to an impossible place gives.
_NOWHERE = (errno.EINVAL, errno.EOVERFLOW)


class ArchiveParameters(Parameters):
    """How much one archive may hold."""

    max_bytes: int = Field(default=2 * 2**30, ge=1)
    """Limit on the bytes that come out of one archive."""
    max_entries: int = Field(default=10_000, ge=1)
    """Limit on the number of files and folders."""
    max_ratio: float = Field(default=200.0, ge=1)
    """Limit on the bytes that come out for each byte of the archive; deflate reaches 1000 on purpose-made ones."""


def unpack(archive: Path, target: Path, parameters: ArchiveParameters) -> None:
    """Unpack an archive into a folder that appears whole or not at all; one that is there gives way.

    Raises:
        ObjectFailedError: as `extract`.
    """
    with replacing_folder(target) as folder:
        extract(archive, folder, parameters)


def extract(archive: Path, folder: Path, parameters: ArchiveParameters) -> None:
    """Extract an archive into an empty folder, which is left half-filled on failure.

    Args:
        archive: a zip file.
        folder: an existing, empty folder that nobody else writes to.
        parameters: limits.

    Raises:
        ObjectFailedError: UNSAFE when an entry leads elsewhere, is no file or folder, is encrypted or replaces another, or when a
            limit is passed; PARSE when the archive is damaged or compressed by an unusual method.
        OSError: when the archive cannot be read or the folder not be written.
    """
    with _opened(archive) as opened:
        entries = opened.infolist()
        if len(entries) > parameters.max_entries:
            raise _unsafe(archive, f"holds {len(entries)} entries, over the limit of {parameters.max_entries}")
        paths = _checked_paths(archive, entries)
        allowance = _Allowance(archive, parameters)
        for entry, path in zip(entries, paths, strict=True):
            if entry.is_dir():
                (folder / path).mkdir(parents=True, exist_ok=True)
            else:
                _write(opened, entry, folder / path, allowance)


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever is wrong inside it becomes one line."""
    try:
        with zipfile.ZipFile(archive) as opened:
            yield opened
    except _DAMAGED as error:
        raise _damaged(archive, error) from None
    except OSError as error:
        if error.errno not in _NOWHERE:
            raise
        raise _damaged(archive, error) from None


def _damaged(archive: Path, error: Exception) -> ObjectFailedError:
    message = " ".join(str(error).split()) or type(error).__name__
    return ObjectFailedError(FailureClass.PARSE, f"{archive.name} is no whole zip archive: {message}")


def _checked_paths(archive: Path, entries: list[zipfile.ZipInfo]) -> list[PurePosixPath]:
    """Each entry's path relative to the target."""
    paths = [_checked_path(archive, entry) for entry in entries]
    files: set[str] = set()
    for entry, path in zip(entries, paths, strict=True):
        if not entry.is_dir():
            if _folded(path) in files:
                raise _unsafe(archive, f"holds {entry.filename!r} twice")
            files.add(_folded(path))
    for entry, path in zip(entries, paths, strict=True):
        above = path.parents if not entry.is_dir() else (path, *path.parents)
        if any(_folded(parent) in files for parent in above):
            raise _unsafe(archive, f"holds {entry.filename!r} below a file")
    return paths


def _folded(path: PurePosixPath) -> str:
    """What is the same for names that some file system takes for the same."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def _checked_path(archive: Path, entry: zipfile.ZipInfo) -> PurePosixPath:
    # The original name: zipfile cuts the other one at a zero byte.
    name = entry.orig_filename
    path = PurePosixPath(name)
    parts = path.parts
    if path.is_absolute() or ".." in parts or not parts or _FORBIDDEN.search(name) or _too_long(path):
        raise _unsafe(archive, f"holds an entry named {name[:80]!r}")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
        raise _unsafe(archive, f"holds {name[:80]!r}, which is a link or another special file")
    if entry.flag_bits & _ENCRYPTED:
        raise _unsafe(archive, f"holds {name[:80]!r}, which is encrypted")
    if entry.compress_type not in _METHODS:
        raise NotImplementedError(f"{name[:80]!r} is compressed by method {entry.compress_type}")
    return path


def _too_long(path: PurePosixPath) -> bool:
    lengths = [len(part.encode()) for part in path.parts]
    return max(lengths) > _LONGEST_NAME or sum(lengths) > _LONGEST_PATH or len(lengths) > _DEEPEST_PATH


class _Allowance:
    """Counts down what may still come out of an archive."""

    def __init__(self, archive: Path, parameters: ArchiveParameters) -> None:
        self._archive, self._used = archive, 0
        ratio = max(_RATIO_COUNTS_FROM, parameters.max_ratio * archive.stat().st_size)
        self._limits = ((parameters.max_bytes, "bytes"), (ratio, "bytes for its size"))

    def use(self, size: int) -> None:
        """Count bytes that have come out."""
        self._used += size
        for limit, what in self._limits:
            if self._used > limit:
                raise _unsafe(self._archive, f"unpacks to more than {limit:.0f} {what}")


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, allowance: _Allowance) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Exclusively: what has been missed above may still not replace anything.
    with opened.open(entry) as source, target.open("xb") as stream:
        _copy(source, stream, allowance)


def _copy(source: IO[bytes], stream: IO[bytes], allowance: _Allowance) -> None:
    while chunk := source.read(_CHUNK):
        allowance.use(len(chunk))
        stream.write(chunk)


def _unsafe(archive: Path, message: str) -> ObjectFailedError:
    return ObjectFailedError(FailureClass.UNSAFE, f"{archive.name} {message}")
