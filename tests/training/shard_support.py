"""What tests of the shard writer share: changing what is rendered, and taking a shard set apart."""

import hashlib
from pathlib import Path

import pandas as pd

from stage.workspace import Workspace
from training.data.index import IndexRow
from training.data.shard_parameters import ShardParameters

# Two objects a shard.
SMALL = ShardParameters(max_bytes=1024)


def tars(workspace: Workspace) -> dict[str, str]:
    """The shards by name, each with the hash of its bytes."""
    paths = sorted(workspace.shards.glob("*.tar"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def times(workspace: Workspace) -> dict[str, int]:
    """When each file of the shard set was written."""
    return {path.name: path.stat().st_mtime_ns for path in workspace.shards.iterdir()}


def render_only(workspace: Workspace, *uids: str) -> None:
    """Have just these objects rendered."""
    _change(workspace, lambda table: table.assign(complete=table["uid"].isin(uids)))


def render_anew(workspace: Workspace, uid: str) -> None:
    """Have an object rendered with other parameters."""
    _change(workspace, lambda table: table.assign(fingerprint=table["fingerprint"].where(table["uid"] != uid, "anew")))


def flip(path: Path, offset: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def damage(folder: Path, row: IndexRow) -> None:
    """Change one bit of an object's cameras, which every reader of its views needs."""
    sample = (folder / row.shard).read_bytes()[row.offset : row.offset + row.size]
    flip(folder / row.shard, row.offset + sample.index(b'"c2w"') + 20)


def _change(workspace: Workspace, change) -> None:
    path = workspace.renders / "objects.parquet"
    change(pd.read_parquet(path)).to_parquet(path)
