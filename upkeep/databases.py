"""The SQLite databases of a workspace, Prefect's and MLflow's: where they are, whether they are whole, who has them open.

Installations that keep them in PostgreSQL have none of these files, and PostgreSQL's own tools look after them.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil

from stage.errors import InputError
from stage.workspace import Workspace
from upkeep.findings import Checked, Finding

REMEDY = "stop what uses it (viewforge down) and put back a backup: viewforge recover DIR"
# Instructions of SQLite's machine between two looks at the clock.
_INSTRUCTIONS = 10_000
# SQLite's own patience with who has the file locked.
_BUSY_SECONDS = 5.0
# What keeps SQLite from a sound file.
_SHUT = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
# The lowest byte of its error codes; the others tell the reason in detail.
_PRIMARY_CODE = 0xFF


def local_databases(place: Workspace) -> list[Path]:
    """The SQLite files that this workspace's servers and commands write, those that exist."""
    found = [prefect_database(place), *sorted(place.mlflow.glob("*.db"))]
    return [path for path in found if path.is_file()]


def prefect_database(place: Workspace) -> Path:
    """Where Prefect's own database is, or would be."""
    return Path(os.environ.get("PREFECT_HOME") or place.root / ".prefect") / "prefect.db"


def check_databases(place: Workspace) -> Checked:
    """SQLite's own check of every page of every database."""
    paths = local_databases(place)
    found = [finding for path in paths if (finding := _finding(path))]
    return Checked(tuple(found), len(paths), sum(path.stat().st_size for path in paths))


def _finding(path: Path) -> Finding | None:
    try:
        problem = damage(path)
    except InputError as error:
        return Finding("database", str(path), "it cannot be opened", str(error))
    return Finding("database", str(path), problem, REMEDY) if problem else None


def refuse_damaged(place: Workspace, seconds: float = 2.0) -> None:
    """Refuse to work with a damaged database, which would fail later and in many lines.

    Args:
        place: whose databases.
        seconds: how long to look at one; what is larger is looked at as far as that.

    Raises:
        InputError: naming the file.
    """
    for path in local_databases(place):
        refuse_damaged_file(path, seconds)


def refuse_damaged_file(path: Path, seconds: float) -> None:
    """Refuse one database, as `refuse_damaged`.

    Raises:
        InputError: naming the file.
    """
    if problem := damage(path, seconds):
        raise InputError(f"the database {path} is damaged ({problem})", REMEDY)


def damage(path: Path, seconds: float | None = None) -> str:
    """What is wrong with a SQLite file; empty when nothing is, or when somebody has it locked.

    Args:
        path: an existing file.
        seconds: how long to look; to the end when None.

    Raises:
        InputError: when it cannot be opened, as on a full disk, which tells nothing about it.
    """
    try:
        with closing(_opened(path, seconds)) as database:
            if seconds is not None:
                deadline = time.monotonic() + seconds
                database.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS)
            pragma = "integrity_check" if seconds is None else "quick_check"
            (answer,) = database.execute(f"PRAGMA {pragma}(1)").fetchone()
    except sqlite3.OperationalError as error:
        # Interrupted at the deadline, or busy (of which there are several kinds): neither says that it is damaged.
        if _kind(error) in _SHUT:
            raise InputError(
                f"the database {path} cannot be opened ({error})",
                "make room on its disk, or see who may read and write it",
            ) from None
        return "" if _kind(error) in {sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY} else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if answer == "ok" else " ".join(str(answer).split())


def copy_database(source: Path, target: Path) -> None:
    """A consistent copy, also while others write: SQLite's backup interface, which sees whole transactions alone.

    Raises:
        InputError: when either is damaged, or there is no room.
    """
    try:
        with closing(_opened(source)) as present, closing(sqlite3.connect(target)) as copy:
            present.backup(copy)
            # One file, without a log beside it.
            copy.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise InputError(
            f"the database {source} cannot be copied to {target.parent} ({error})", _remedy(error)
        ) from None
    if problem := damage(target):
        raise InputError(f"the database {source} is damaged ({problem})", REMEDY)


def _remedy(error: sqlite3.Error) -> str:
    """What helps: a full disk or a lock is no reason to put an older database in place."""
    return REMEDY if tells_damage(error) else "make room there or wait for who has it locked, and copy again"


def tells_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is damaged or no database."""
    return _kind(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def tells_lock(error: sqlite3.Error) -> bool:
    """Whether an error says that another process has the file locked."""
    return _kind(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _kind(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)) & _PRIMARY_CODE


def users_of(path: Path) -> list[str]:
    """Processes of this user, and for root of all, that have a file open: number and name."""
    return list(_holders(path.resolve()))


def _holders(path: Path) -> Iterator[str]:
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and any(Path(file.path) == path for file in process.open_files()):
                yield f"process {process.pid} ({process.name()})"
        except psutil.Error:
            # Another user's, or gone.
            continue


def _opened(path: Path, seconds: float | None = None) -> sqlite3.Connection:
    """For writing too, as what a killed process left half written is taken back first, which a reader may not do."""
    patience = _BUSY_SECONDS if seconds is None else min(seconds, _BUSY_SECONDS)
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=patience)
