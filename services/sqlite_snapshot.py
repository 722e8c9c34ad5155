"""A consistent copy of a SQLite database that nobody writes to meanwhile."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from stage.errors import InputError
from upkeep.databases import copy_database, users_of

_MAGIC = b"SQLite format 3\0"
_FILE = "give the file, such as mlflow/mlflow.db"


@dataclass(frozen=True)
class Snapshot:
    """A copy of a database, and how the original was then."""

    source: Path
    copy: Path
    written: tuple[tuple[int, int], ...]

    def check_last(self) -> None:
        """Refuse to go on when somebody has the original open or wrote to it: the copy lacks that.

        Raises:
            InputError: naming the process, where there is one.
        """
        check_unused(self.source)
        if _written(self.source) != self.written:
            raise InputError(f"{self.source} was written to while it was copied", "stop what uses it, and copy again")


@contextmanager
def snapshot(path: Path) -> Iterator[Snapshot]:
    """A copy of a database as of now, write-ahead log included, that is deleted when the block ends.

    Raises:
        InputError: when there is no such database, a process has it open, it is damaged, or there is no room for the copy.
    """
    _check_file(path)
    check_unused(path)
    _settle(path)
    written = _written(path)
    with TemporaryDirectory(prefix="viewforge-database-") as folder:
        copy = Path(folder) / path.name
        copy_database(path, copy)
        _check_references(copy, path)
        yield Snapshot(path, copy, written)


def check_unused(path: Path) -> None:
    """Refuse a database that a process has open: what it wrote afterwards would be left behind.

    Raises:
        InputError: naming the process.
    """
    if users := users_of(path):
        raise InputError(f"{path} is open in {users[0]}", "stop the server that uses it first (viewforge down)")


def _settle(path: Path) -> None:
    """Have what a killed process left beside the file taken back or brought in now, which writes to it."""
    # A damaged one is named when it is copied.
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(path)) as database:
        database.execute("SELECT count(*) FROM sqlite_master")


def _written(path: Path) -> tuple[tuple[int, int], ...]:
    """Size and time of the file and of its write-ahead log."""
    files = [each.stat() for each in (path, Path(f"{path}-wal")) if each.is_file()]
    return tuple((each.st_size, each.st_mtime_ns) for each in files if each.st_size)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"there is no database {path}", _FILE)
    with path.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise InputError(f"{path} is no SQLite database", _FILE)


def _check_references(copy: Path, path: Path) -> None:
    with closing(sqlite3.connect(copy)) as database:
        orphan = database.execute("PRAGMA foreign_key_check").fetchone()
    if orphan:
        table, row, parent, _ = orphan
        raise InputError(
            f"row {row} of table {table} in {path} refers to a row of {parent} that is not there",
            "delete the row or restore a backup; PostgreSQL would refuse it",
        )
