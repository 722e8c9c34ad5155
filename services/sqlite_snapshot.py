"""A consistent copy of a SQLite database that nobody writes to meanwhile."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from stage.errors import InputError

_MAGIC = b"SQLite format 3\0"


@contextmanager
def snapshot(path: Path) -> Iterator[Path]:
    """A copy of a database as of now, write-ahead log included, that is deleted when the block ends.

    Raises:
        InputError: when there is no such database, a process has it open, or it is damaged.
    """
    _check_file(path)
    check_unused(path)
    with TemporaryDirectory(prefix="viewforge-database-") as folder:
        copy = Path(folder) / path.name
        try:
            # As a URI: a file that vanished meanwhile must not come into being.
            source = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)
            with closing(source), closing(sqlite3.connect(copy)) as target:
                source.backup(target)
                _check_sound(target, path)
        except sqlite3.DatabaseError as error:
            raise _damaged(path, str(error)) from error
        yield copy


def check_unused(path: Path) -> None:
    """Refuse a database that a process has open: what it wrote afterwards would be left behind.

    Raises:
        InputError: naming the process.
    """
    own = {os.getpid()}
    names = {f"{path.resolve()}{end}" for end in ("", "-wal", "-journal", "-shm")}
    for process in psutil.process_iter(["pid", "name"]):
        if process.pid not in own and names & _open_files(process):
            raise InputError(
                f"{path} is open in process {process.pid} ({process.info['name']})",
                "stop the server that uses it first (viewforge down)",
            )


def _open_files(process: psutil.Process) -> set[str]:
    try:
        return {file.path for file in process.open_files()}
    except (psutil.Error, OSError):
        # Another user's, or gone.
        return set()


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"there is no database {path}", "give the file, such as mlflow/mlflow.db")
    with path.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise InputError(f"{path} is no SQLite database", "give the file, such as mlflow/mlflow.db")


def _check_sound(connection: sqlite3.Connection, path: Path) -> None:
    [(answer,)] = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if answer != "ok":
        raise _damaged(path, answer)
    if orphan := connection.execute("PRAGMA foreign_key_check").fetchone():
        table, row, parent, _ = orphan
        raise InputError(
            f"row {row} of table {table} in {path} refers to a row of {parent} that is not there",
            "delete the row or restore a backup; PostgreSQL would refuse it",
        )


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is damaged: {' '.join(reason.split())}", "restore a backup (docs/deployment.md)")
