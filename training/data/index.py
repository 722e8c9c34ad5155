"""The index of a shard set: where each object lies, and what its bytes hash to.

`index.parquet` stands beside the tars and is written last, so its presence means that the set is whole.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd

from stage.errors import InputError
from stage.files import replacing

INDEX = "index.parquet"


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


def write_index(folder: Path, rows: Iterable[IndexRow]) -> None:
    """Write the index of the shards in `folder`."""
    frame = pd.DataFrame([asdict(row) for row in rows], columns=[field.name for field in fields(IndexRow)])
    with replacing(folder / INDEX) as temporary:
        frame.to_parquet(temporary, index=False)


def read_index(folder: Path) -> list[IndexRow]:
    """The rows of a shard set's index.

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
    path = folder / INDEX
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError:
        raise InputError(f"no shard index {path}", "run viewforge shard first") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}", "run viewforge shard again") from None
    return [IndexRow(**row) for row in frame.to_dict("records")]  # type: ignore[arg-type]
