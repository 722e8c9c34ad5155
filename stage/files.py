"""Files that are whole or absent: written under a temporary name, flushed, and renamed into place.

A reader that finds a file under its final name may rely on it. Temporary names start with a dot and carry the machine and the
process id, so that two processes writing the same file never share one, on a disk that several machines share neither.
"""

import glob
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


def temporary_name(path: Path) -> Path:
    """The name under which `path` is written before it is renamed: same folder, hidden, one per process."""
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file name; rename it to `path` when the block succeeds, remove it when it fails.

    Args:
        path: final name; its folder is made when absent.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Flush a file that was written under a temporary name, and rename it."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; rename it to `path` when the block succeeds, remove it when it fails.

    A folder already at `path` gives way: it is moved aside first and deleted last.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            discarded = temporary.with_suffix(".old")
            path.rename(discarded)
            temporary.rename(path)
            shutil.rmtree(discarded)
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - JSON is any value
    """Write `value` to `path` atomically: two-space indent, sorted keys, so the same value gives the same bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def folder_sha256(folder: Path, exclude: frozenset[str] = frozenset()) -> str:
    """Hex SHA-256 over the relative names and contents of all files below `folder`.

    Args:
        folder: the folder to hash.
        exclude: relative POSIX names left out.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in exclude:
            digest.update(f"{name}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def json_sha256(value: Any) -> str:  # noqa: ANN401 - JSON is any value
    """Hex SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def remove_abandoned(path: Path) -> None:
    """Delete what processes of this machine that are gone were writing to `path`, and nothing else of its folder."""
    for left in path.parent.glob(f"{glob.escape(f'.{path.name}.{socket.gethostname()}')}-*.tmp"):
        number = left.name.removesuffix(".tmp").rpartition("-")[2]
        if number.isdecimal() and not _lives(int(number)):
            left.unlink(missing_ok=True)


def _lives(number: int) -> bool:
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        # It is another user's.
        return True
    return True


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files and folders that killed processes left directly or one or two levels in `folder`."""
    for pattern in (".*.tmp", "*/.*.tmp", ".*.old", "*/.*.old"):
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
