"""The index of a shard set: where each object lies, and what its bytes hash to.

`index.parquet` stands beside the tars and is written last, so its presence means that the set is whole. What was removed from the
set, or replaced, stays in its tar until the set is compacted; `tombstones.parquet` lists it in the same columns. A row of the index
is alive whatever the tombstones say: they are written first, and a process may die in between.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from stage.errors import InputError
from stage.files import replacing

INDEX = "index.parquet"
TOMBSTONES = "tombstones.parquet"
_RECIPE = b"viewforge.recipe"


@dataclass(frozen=True)
class IndexRow:
    """One object in one shard."""

    shard: str
    """File name of the tar."""
    key: str
    """WebDataset key: the object's uid."""
    offset: int
    """Byte at which the object's first tar header starts."""
    size: int
    """Bytes of the object's members, headers and padding included."""
    sha256: str
    """Hex SHA-256 of those bytes."""
    views: int
    split: str
    licence: str
    source: str
    fingerprint: str = ""
    """What the object was made of; another one means that it is to be written anew. Empty where the writer does not say."""


_TYPES: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64()}
_SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in get_type_hints(IndexRow).items()])


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


def read_index(folder: Path) -> list[IndexRow]:
    """The rows of a shard set's index, which are its living objects.

    Raises:
        InputError: when there is none, or a shard that it names is missing.
    """
    rows = read_rows(folder)
    missing = [name for name in sorted({row.shard for row in rows}) if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} lacks the shard {missing[0]}", "restore it with dvc pull, or run viewforge shard again")
    return rows


def read_rows(folder: Path) -> list[IndexRow]:
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
    rows = list(rows)
    columns = {name: [getattr(row, name) for row in rows] for name in _SCHEMA.names}
    table = pa.table(columns, schema=_SCHEMA.with_metadata({_RECIPE: recipe.encode()}))
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def _read(path: Path) -> list[IndexRow]:
    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in _SCHEMA.names if name in file.schema_arrow.names]
            table = file.read(names)
        columns = {name: table[name].to_pylist() for name in names}
        return [IndexRow(**dict(zip(names, values, strict=True))) for values in zip(*columns.values(), strict=True)]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        raise InputError(f"{path} is damaged: {str(error).splitlines()[0]}", "run viewforge shard again") from None
