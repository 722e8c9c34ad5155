"""The PostgreSQL database that a copy goes to: how it is addressed, and that it is free and empty."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from services.database_kinds import KINDS, Kind, shown
from stage.errors import InputError, StageFailedError

_EXAMPLE = "give postgresql://USER@HOST/DATABASE"


def address(target: str) -> sqlalchemy.URL:
    """The address of a PostgreSQL database.

    Raises:
        InputError: when it is none, names no database, or has a password in it.
    """
    try:
        url = sqlalchemy.make_url(target)
    except ArgumentError:
        raise InputError("the target is no address of a database", _EXAMPLE) from None
    if url.get_backend_name() != "postgresql" or not url.database:
        raise InputError(f"{shown(url)} is no address of a PostgreSQL database", _EXAMPLE)
    if url.password is not None or set(url.query) - {"host"}:
        raise InputError(
            f"{shown(url.set(query={}))} has a password or options, and every user of the machine can read a command line",
            "put them into libpq's variables: PGPASSWORD or PGPASSFILE, PGSSLMODE",
        )
    return url.set(drivername="postgresql+psycopg2")


@contextmanager
def opened(url: sqlalchemy.URL) -> Iterator[sqlalchemy.Engine]:
    """Connections to it. What it refuses is one line without the statement's values, which may be secrets.

    Raises:
        InputError: when there is no driver.
        StageFailedError: when the database refuses something.
    """
    try:
        engine = sqlalchemy.create_engine(url)
    except ImportError as error:
        raise InputError(
            f"there is no driver for PostgreSQL: {error}", "pip install 'viewforge[production]'"
        ) from error
    try:
        yield engine
    except SQLAlchemyError as error:
        raise refused(url, error) from error
    finally:
        engine.dispose()


def refused(url: sqlalchemy.URL, error: Exception, place: str = "") -> StageFailedError:
    """A refusal as one line."""
    reason = f"{getattr(error, 'orig', None) or error}".strip() or type(error).__name__
    return StageFailedError(
        f"{shown(url)}{place}: {reason.splitlines()[0]}", "nothing was copied; mend that and copy again"
    )


def check_target(engine: sqlalchemy.Engine, kinds: list[Kind], names: list[str]) -> None:
    """Refuse a database that somebody uses, that has rows in the named tables, or another tool's tables.

    Raises:
        InputError: naming the user, the table or the tool.
    """
    with engine.connect() as connection:
        _check_alone(connection)
        present = sqlalchemy.inspect(connection).get_table_names()
        _check_kinds(engine.url, kinds, present)
        for name in sorted(set(names) & set(present)):
            rows = connection.scalar(sqlalchemy.select(sqlalchemy.func.count()).select_from(sqlalchemy.table(name)))
            # A new schema has one row in some.
            if rows and not (rows == 1 and any(name in kind.seeded for kind in kinds)):
                raise InputError(
                    f"{shown(engine.url)} is not empty: table {name} has {rows} rows",
                    "create a new database for the copy",
                )


def _check_alone(connection: sqlalchemy.Connection) -> None:
    other = connection.execute(
        sqlalchemy.text(
            "SELECT pid, usename FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    ).first()
    if other:
        raise InputError(
            f"{shown(connection.engine.url)} is in use by {other.usename} (PostgreSQL's process {other.pid})",
            "stop the server that uses it first",
        )


def _check_kinds(url: sqlalchemy.URL, kinds: list[Kind], present: list[str]) -> None:
    versions = {kind.version_table for kind in kinds}
    for kind in KINDS:
        if kind not in kinds and kind.version_table in versions and kind.marker in present:
            raise InputError(
                f"{shown(url)} is {kind.name}'s; its tables and those of {kinds[0].name} have names in common",
                "give each a database of its own",
            )
