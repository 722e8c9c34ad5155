"""The index of a shard set: where each object lies, and what its bytes hash to.

`index.parquet` stands beside the tars and is written last, so its presence means that the set is whole. What was removed from
the set, or replaced, stays in its tar until the set is compacted; `tombstones.parquet` lists it in the same columns. A row of
the index is alive whatever the tombstones say: they are written first, and a process may die in between.
"""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stage.errors import InputError
from stage.files import replacing
from training.data.index_rows import REPEATED, TYPES, IndexRow, IndexRows

__all__ = [
    "INDEX",
    "TOMBSTONES",
    "IndexRow",
    "IndexRows",
    "read_index",
    "read_recipe",
    "read_rows",
    "read_tombstones",
    "write_index",
    "write_tombstones",
]

INDEX = "index.parquet"
TOMBSTONES = "tombstones.parquet"
_RECIPE = b"viewforge.recipe"
# Twice the objects of Objaverse-XL. A file of kilobytes may claim any number, all of one value.
_MOST_ROWS = 20_000_000
# Columns that the index of an older set may lack.
_LATER: dict[str, object] = {"fingerprint": "", "members": "", "sizes": [], "checks": b""}


def write_index(folder: Path, rows: Iterable[IndexRow], recipe: str = "") -> None:
    """Write the index of the shards in `folder`; the same rows give the same bytes.

    Args:
        folder: the shard set.
        rows: its objects, in the order in which they are to be read.
        recipe: hash of the parameters that the set was written with.
    """
    _write(folder / INDEX, rows, recipe)


def write_tombstones(folder: Path, rows: Iterable[IndexRow]) -> None:
    """List what is in the tars and no longer in the set; without any there is no file."""
    rows = list(rows)
    if rows:
        _write(folder / TOMBSTONES, rows)
    else:
        (folder / TOMBSTONES).unlink(missing_ok=True)


def read_index(folder: Path) -> IndexRows:
    """The rows of a shard set's index, which are its living objects.

    Raises:
        InputError: when there is none, or a shard that it names is missing.
    """
    rows = read_rows(folder)
    missing = [name for name in sorted(rows.shards) if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder} lacks the shard {missing[0]}", "restore it with dvc pull, or run viewforge shard again"
        )
    return rows


def read_rows(folder: Path) -> IndexRows:
    """The rows of a shard set's index, whether its shards are there or not.

    Raises:
        InputError: when there is no index, or it is damaged.
    """
    try:
        return _read(folder / INDEX)
    except FileNotFoundError:
        raise InputError(f"no shard index {folder / INDEX}", "run viewforge shard first") from None


def read_tombstones(folder: Path, rows: Iterable[IndexRow]) -> list[IndexRow]:
    """What is in the tars of a set and no longer alive.

    Args:
        folder: the shard set.
        rows: those of its index.

    Raises:
        InputError: when the list is damaged.
    """
    alive = {(row.shard, row.offset) for row in rows}
    try:
        return [row for row in _read(folder / TOMBSTONES) if (row.shard, row.offset) not in alive]
    except FileNotFoundError:
        return []


def read_recipe(folder: Path) -> str:
    """The recipe that `write_index` was given; empty when there is no index or it names none."""
    try:
        metadata = pq.read_schema(folder / INDEX).metadata or {}
    except (OSError, ValueError, pa.ArrowException):
        return ""
    return metadata.get(_RECIPE, b"").decode()


def _write(path: Path, rows: Iterable[IndexRow], recipe: str = "") -> None:
    table = IndexRows.of(rows).table.replace_schema_metadata({_RECIPE: recipe.encode()})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, use_dictionary=list(REPEATED), write_page_checksum=True)


def _read(path: Path) -> IndexRows:
    try:
        names = [name for name in TYPES if name in pq.read_schema(path).names]
        repeated = [name for name in REPEATED if name in names]
        with pq.ParquetFile(path, read_dictionary=repeated, page_checksum_verification=True) as file:
            table = _bounded(file).read(names)
        for name in _LATER.keys() - set(table.column_names):
            table = table.append_column(name, pa.repeat(pa.scalar(_LATER[name], TYPES[name]), len(table)))
        return IndexRows(_checked(table))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{path} is damaged: {str(error).splitlines()[0]}", "run viewforge shard again") from None


def _bounded(file: pq.ParquetFile) -> pq.ParquetFile:
    """The file, unless its rows would fill the memory."""
    if file.metadata.num_rows > _MOST_ROWS:
        raise ValueError(f"it claims {file.metadata.num_rows:,} objects, over the limit of {_MOST_ROWS:,}")
    return file


def _checked(table: pa.Table) -> pa.Table:
    """A table whose columns are of the right types; texts may come with long offsets, as other libraries write them.

    Raises:
        ValueError: when they are not.
    """
    for name, kind in TYPES.items():
        column = table[name]
        found = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if column.type == pa.large_string():
            found, column = pa.string(), column.cast(pa.string())
            table = table.set_column(table.column_names.index(name), name, column)
        if found != kind or column.null_count:
            raise ValueError(f"its column {name} is not of {kind} alone")
    return table
