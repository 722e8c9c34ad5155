"""From SQLite to PostgreSQL: a database of Prefect or MLflow, whole or not at all.

Run `viewforge database copy SOURCE TARGET` (docs/deployment.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from services.database_kinds import Kind, check_revision, kinds_of
from services.database_rows import Contents, as_kept, contents_of, copy_rows
from services.database_target import address, check_target, opened, refused
from services.sqlite_snapshot import snapshot
from stage.errors import InputError, StageFailedError

_LOCK_PATIENCE = "10s"


@dataclass(frozen=True)
class Copied:
    """What was copied."""

    kinds: list[str]
    tables: dict[str, Contents]

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(contents.rows for contents in self.tables.values())


def copy(source: Path, target: str) -> Copied:
    """Copy a SQLite database of Prefect or MLflow into an empty PostgreSQL database.

    The tools themselves make the tables. The rows are copied, counted and compared in one transaction: when anything fails,
    the target has no row more than before, and the command can be run again.

    Args:
        source: the SQLite file.
        target: `postgresql://user@host:port/database`, without a password (PGPASSWORD or PGPASSFILE has it).

    Raises:
        InputError: when the source is in use, damaged or of another version, or the target is in use or not empty.
        StageFailedError: when the target is away, refuses a row, or does not have it as it was.
    """
    url = address(target)
    with snapshot(source) as taken, _reading(taken.copy) as old:
        kinds = _kinds(old, source)
        names = _tables(old, kinds)
        with opened(url) as new:
            check_target(new, kinds, names)
            for kind in kinds:
                kind.upgrade(url)
            with old.connect() as reading, new.begin() as writing:
                copied = Copied([kind.name for kind in kinds], _copy_all(reading, writing, names))
                # Before anything counts: a server that came up meanwhile.
                taken.check_last()
                return copied


@contextmanager
def _reading(path: Path) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(sqlalchemy.URL.create("sqlite", database=str(path)))
    try:
        yield engine
    finally:
        engine.dispose()


def _kinds(old: sqlalchemy.Engine, source: Path) -> list[Kind]:
    kinds = kinds_of(old)
    if not kinds:
        raise InputError(f"{source} is no database of Prefect or MLflow", "give the file, such as mlflow/mlflow.db")
    for kind in kinds:
        check_revision(old, kind, source)
    return kinds


def _tables(old: sqlalchemy.Engine, kinds: list[Kind]) -> list[str]:
    """All tables but those of alembic: PostgreSQL's are at its own revision."""
    versions = {kind.version_table for kind in kinds}
    return [name for name in sqlalchemy.inspect(old).get_table_names() if name not in versions]


def _copy_all(reading: sqlalchemy.Connection, writing: sqlalchemy.Connection, names: list[str]) -> dict[str, Contents]:
    tables = _reflected(reading, writing, names)
    # A server that came up meanwhile holds locks.
    writing.execute(sqlalchemy.text(f"SET LOCAL lock_timeout = '{_LOCK_PATIENCE}'"))
    with _without_foreign_keys(writing, names):
        contents = {name: _copy_table(reading, writing, table) for name, table in tables.items()}
    for name in names:
        _continue_sequences(writing, name)
    return contents


def _reflected(
    reading: sqlalchemy.Connection, writing: sqlalchemy.Connection, names: list[str]
) -> dict[str, sqlalchemy.Table]:
    """The tables as PostgreSQL has them.

    Raises:
        StageFailedError: when one of them is not there or has other columns.
    """
    there = set(sqlalchemy.inspect(writing).get_table_names())
    if missing := sorted(set(names) - there):
        raise StageFailedError(
            f"PostgreSQL's schema has no table {missing[0]}", "drop it from the SQLite database, if it is yours"
        )
    metadata = sqlalchemy.MetaData()
    metadata.reflect(writing, only=names)
    inspector = sqlalchemy.inspect(reading)
    for name in names:
        here = {column["name"] for column in inspector.get_columns(name)}
        if differing := sorted(here ^ set(metadata.tables[name].columns.keys())):
            raise StageFailedError(
                f"table {name} has column {differing[0]} in one database alone", "drop it there, if it is yours"
            )
    return {name: as_kept(metadata.tables[name]) for name in names}


@contextmanager
def _without_foreign_keys(connection: sqlalchemy.Connection, names: list[str]) -> Iterator[None]:
    """Take the foreign keys away, and put them back in the same transaction, when PostgreSQL checks every row against them.

    Runs refer to their states, which refer to their runs: no order of tables is right. Who owns the tables may do this; to
    disable the keys' triggers instead takes a superuser.
    """
    keys = connection.execute(
        sqlalchemy.text(
            "SELECT quote_ident(c.conname) AS name, c.conrelid::regclass::text AS place, pg_get_constraintdef(c.oid) AS text"
            " FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid"
            " WHERE c.contype = 'f' AND t.relname = ANY(:names) AND t.relnamespace = current_schema()::regnamespace"
            " ORDER BY place, name"
        ),
        {"names": names},
    ).all()
    for key in keys:
        connection.execute(sqlalchemy.text(f"ALTER TABLE {key.place} DROP CONSTRAINT {key.name}"))
    yield
    for key in keys:
        connection.execute(sqlalchemy.text(f"ALTER TABLE {key.place} ADD CONSTRAINT {key.name} {key.text}"))


def _copy_table(reading: sqlalchemy.Connection, writing: sqlalchemy.Connection, table: sqlalchemy.Table) -> Contents:
    """Copy the rows, and read them again.

    Raises:
        StageFailedError: naming the table, when a row does not fit or is not the same there.
    """
    try:
        # What the tool's migrations put there, of which the source has its own.
        writing.execute(sqlalchemy.delete(table))
        sent = copy_rows(reading, writing, table)
        arrived = contents_of(writing, table)
    except (SQLAlchemyError, ValueError) as error:
        raise refused(writing.engine.url, error, f", table {table.name}") from error
    if sent != arrived:
        raise StageFailedError(
            f"table {table.name} has {sent.rows} rows in SQLite and {arrived.rows} in PostgreSQL, or other values",
            "nothing was copied; report this with the versions of the tools",
        )
    return sent


def _continue_sequences(connection: sqlalchemy.Connection, name: str) -> None:
    """Have the numbers that PostgreSQL gives to new rows go on after the copied ones."""
    quoted = connection.dialect.identifier_preparer.quote
    for column in sqlalchemy.inspect(connection).get_columns(name):
        if not isinstance(column["type"], sqlalchemy.Integer):
            continue
        sequence = connection.scalar(
            sqlalchemy.select(sqlalchemy.func.pg_get_serial_sequence(quoted(name), column["name"]))
        )
        highest = connection.scalar(
            sqlalchemy.select(sqlalchemy.func.max(sqlalchemy.column(column["name"]))).select_from(
                sqlalchemy.table(name)
            )
        )
        if sequence and highest is not None:
            # Experiment 0 is below what a sequence counts.
            following = max(int(highest) + 1, 1)
            connection.execute(sqlalchemy.select(sqlalchemy.func.setval(sequence, following, False)))
