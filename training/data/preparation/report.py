"""What became of each scene of a preparation: a row each, in `prepared.parquet` beside the shards."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from stage.files import replacing, write_json
from training.data.preparation.scene_making import MadeScene

REPORT = "prepared.parquet"
_LEFT_OUT = pa.list_(pa.struct([("frame", pa.string()), ("why", pa.string())]))
_SCHEMA = pa.schema(
    [
        ("scene", pa.string()),
        ("split", pa.string()),
        ("shard", pa.string()),
        ("frames", pa.int64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("known_depth", pa.float64()),
        ("failure", pa.string()),
        ("message", pa.string()),
        ("left_out", _LEFT_OUT),
    ]
)


@dataclass(frozen=True)
class SceneRow:
    """One scene."""

    scene: str
    """`<category>/<name>`."""
    split: str
    shard: str
    """Its shard, relative to the report; empty for a scene that is left out."""
    frames: int
    """Written, from 1."""
    width: int
    height: int
    known_depth: float
    """Share of all pixels whose depth is known."""
    failure: str
    """Class of the reason why the scene is left out; empty where it is not."""
    message: str
    left_out: list[dict[str, str]]
    """`frame` and `why`."""

    @classmethod
    def of(cls, made: MadeScene, shard: str) -> Self:
        """The row of a scene that was to go into a shard."""
        left_out = [asdict(each) for each in made.left_out]
        size = (made.frames, made.width, made.height, made.known_depth)
        return cls(made.key, made.split, shard if made.files else "", *size, made.failure, made.message, left_out)


@dataclass(frozen=True)
class Part:
    """One finished shard, as a run that goes on finds it."""

    end: int
    """Scenes of the split that it and those before it have dealt with."""
    bytes: int
    """Of the shard; 0 if no scene was left for one."""
    rows: list[SceneRow]

    def write(self, path: Path) -> None:
        """Keep it; the shard must be in its place."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path, shard: Path) -> Self | None:
        """That of a shard, if both are there and belong together."""
        try:
            values: dict[str, Any] = json.loads(path.read_bytes())
            size = shard.stat().st_size if values["bytes"] else 0
        except FileNotFoundError:
            return None
        rows = [SceneRow(**row) for row in values["rows"]]
        return cls(values["end"], values["bytes"], rows) if size == values["bytes"] else None


def write_report(path: Path, rows: Iterable[SceneRow]) -> None:
    """Write rows in their order; the same ones give the same bytes."""
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], _SCHEMA), temporary)


def read_report(path: Path) -> list[SceneRow]:
    """The rows of a preparation."""
    return [SceneRow(**row) for row in pq.read_table(path).to_pylist()]
