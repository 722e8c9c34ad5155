"""What can go: an item of some kind, and what finds and deletes the items of one kind."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

KEEP_TAG = "keep"
SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Item:
    """One thing that nobody needs any more."""

    kind: str
    """run, logged model, version, orphan, cache, scratch, predictions or log."""
    name: str
    """Its path below the workspace, or its name in the registry."""
    bytes: int
    """That its deletion frees."""
    why: str
    """Why nobody needs it."""


class Collector(Protocol):
    """Finds the items of one kind, and deletes them; both may be done again after a kill."""

    def find(self) -> Iterable[Item]:
        """What can go now."""

    def delete(self, item: Item) -> None:
        """Delete an item that `find` gave.

        Raises:
            ViewforgeError: when it is in use after all.
        """


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder; what vanishes meanwhile counts nothing."""
    return sum(_size(file) for file in ([path] if path.is_file() else path.rglob("*")))


def newest_change(path: Path) -> float:
    """When the youngest file or folder in a folder was changed, seconds since the epoch."""
    return max((_changed(file) for file in (path, *path.rglob("*"))), default=0.0)


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size if file.is_file() or file.is_symlink() else 0
    except OSError:
        return 0


def _changed(file: Path) -> float:
    try:
        return file.lstat().st_mtime
    except OSError:
        return 0.0
