"""Rows on their way from SQLite to PostgreSQL: what type each column has on either side, and whether all arrived.

SQLite knows no booleans, times, UUIDs or JSON; SQLAlchemy keeps them as numbers and text there. The type of a column is
PostgreSQL's, as its tool made it; a type that both dialects know how to keep reads the one and writes the other.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine

_BATCH = 1000
_WHOLE = 1 << 256


class JsonText(TypeDecorator[str]):
    """JSON as the text that it is: no null of JSON becomes one of SQL.

    NaN and infinities, which SQLite keeps and PostgreSQL refuses, become null, as Prefect itself writes them.
    """

    impl = sqlalchemy.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sqlalchemy.Dialect) -> str | None:  # noqa: ARG002 - theirs
        """Text that PostgreSQL takes."""
        if value is None or ("NaN" not in value and "Infinity" not in value):
            return value
        return json.dumps(json.loads(value, parse_constant=lambda _: None))

    def column_expression(self, column: sqlalchemy.ColumnElement[Any]) -> sqlalchemy.ColumnElement[Any]:
        """Read as text; the driver of PostgreSQL would parse it."""
        return sqlalchemy.cast(column, sqlalchemy.Text)


@dataclass(frozen=True)
class Contents:
    """What a table holds, whatever the order of its rows."""

    rows: int = 0
    digest: str = f"{0:064x}"
    """Sum of the SHA-256 of the rows, modulo 2^256."""


def as_kept(table: sqlalchemy.Table) -> sqlalchemy.Table:
    """A reflected table with types that both dialects read and write, without columns that the database computes itself."""
    columns = [
        sqlalchemy.Column(column.name, _type(column.type)) for column in table.columns if column.computed is None
    ]
    return sqlalchemy.Table(table.name, sqlalchemy.MetaData(), *columns)


def _type(kept: TypeEngine[Any]) -> TypeEngine[Any]:
    if isinstance(kept, postgresql.JSON):  # JSONB too
        return JsonText()
    if isinstance(kept, postgresql.INTERVAL):
        return sqlalchemy.Interval()
    if isinstance(kept, postgresql.UUID | postgresql.TIMESTAMP):
        # Prefect's alone, which keeps them in its own way.
        from prefect.server.utilities.database import UUID, Timestamp

        return UUID() if isinstance(kept, postgresql.UUID) else Timestamp()
    return kept


def batches(connection: sqlalchemy.Connection, table: sqlalchemy.Table) -> Iterator[list[dict[str, Any]]]:
    """The rows of a table, a thousand at a time."""
    answer = connection.execute(sqlalchemy.select(table), execution_options={"yield_per": _BATCH})
    for rows in answer.mappings().partitions():
        yield [dict(row) for row in rows]


def copy_rows(source: sqlalchemy.Connection, target: sqlalchemy.Connection, table: sqlalchemy.Table) -> Contents:
    """Bring all rows of a table over; what was read."""
    contents = Contents()
    for rows in batches(source, table):
        target.execute(sqlalchemy.insert(table), rows)
        contents = added(contents, table, rows)
    return contents


def contents_of(connection: sqlalchemy.Connection, table: sqlalchemy.Table) -> Contents:
    """What a table holds."""
    contents = Contents()
    for rows in batches(connection, table):
        contents = added(contents, table, rows)
    return contents


def added(contents: Contents, table: sqlalchemy.Table, rows: Sequence[dict[str, Any]]) -> Contents:
    """Contents with some rows more."""
    json_columns = {column.name for column in table.columns if isinstance(column.type, JsonText)}
    total = int(contents.digest, 16) + sum(_row_digest(row, json_columns) for row in rows)
    return Contents(contents.rows + len(rows), f"{total % _WHOLE:064x}")


def _row_digest(row: dict[str, Any], json_columns: Iterable[str]) -> int:
    values = [[name, _plain(value, name in json_columns)] for name, value in sorted(row.items())]
    return int.from_bytes(hashlib.sha256(json.dumps(values).encode()).digest())


def _plain(value: Any, is_json: bool) -> Any:  # noqa: ANN401 - of any column
    """A value as JSON, the same for equal values: PostgreSQL sorts the keys of JSONB and writes numbers in its own way."""
    if value is None or isinstance(value, bool):
        return value
    if is_json:
        parsed = json.loads(value, parse_int=Decimal, parse_float=Decimal, parse_constant=lambda _: None)
        return json.dumps(parsed, sort_keys=True, default=lambda number: {"number": f"{number + 0:.20g}"})
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return repr(value) if isinstance(value, int | float) else str(value)
