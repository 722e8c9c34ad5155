"""Where the frames of ZeroNVS's shards lie: found once by a scan of the tars' headers, and kept in one file.

A row is a scene, in the order of shards and of the scenes in them: the shard's path below the folder, the scene's name, and of
each of its frames, as lists, number and where the bytes of its picture and of its metadata lie. Published shards have no
hashes, so a shard is known by its size and time of change, which the file's metadata hold; where they differ all shards are
scanned again.
"""

import json
import logging
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from stage.errors import InputError
from stage.files import replacing
from training.data.archive_folders import check_end
from training.data.zeronvs_layout import FRAME

_log = logging.getLogger(__name__)

NAME = "frames.parquet"
_SHARDS = b"viewforge.shards"
# Raised when the scan finds other things in the same shards.
_FORMAT = 1
_FRAME_COLUMNS = {
    "number": pa.uint32(),
    "picture_offset": pa.int64(),
    "picture_size": pa.uint32(),
    "metadata_offset": pa.int64(),
    "metadata_size": pa.uint32(),
}
# Where a row of these has a file's offset, its size follows.
_PARTS = {".png": 1, "_metadata.json": 3}


@dataclass(frozen=True)
class SceneIndex:
    """The scenes of some shards."""

    shards: tuple[str, ...]
    """Of each scene, its shard's path below the folder."""
    scenes: tuple[str, ...]
    """Of each scene, its folder in the shard."""
    starts: Int[np.ndarray, " n+1"]
    """Where each scene's frames begin among all, and where the last one's end."""
    frames: Mapping[str, Int[np.ndarray, " f"]]
    """`number`, `picture_offset`, `picture_size`, `metadata_offset`, `metadata_size` of all frames."""

    @property
    def views(self) -> Int[np.ndarray, " n"]:
        """How many frames each scene has."""
        return np.diff(self.starts)


def scene_index(folder: Path, file: Path | None = None, processes: int = 1) -> SceneIndex:
    """The scenes of all shards below a folder, from the index's file while that is of these shards.

    Args:
        folder: with `*.tar` in it or below it.
        file: where the index is kept; None is `frames.parquet` in the folder.
        processes: that scan.

    Raises:
        InputError: when there is no shard or no whole scene, a shard is damaged or truncated, or the index cannot be written.
    """
    file = file or folder / NAME
    known = _states(folder)
    if not known:
        raise InputError(f"no shard in {folder}", "name a folder of *.tar")
    kept = _read(file, known)
    if kept is None:
        _write(file, _scanned(folder, [path for path, *_ in known], processes), known)
        kept = _read(file, known)
    if not kept or not kept.scenes:
        raise InputError(f"no whole scene in the shards of {folder}", "name a folder of ZeroNVS's shards")
    return kept


def _states(folder: Path) -> list[list[str | int]]:
    """Path, size and time of change of each shard."""
    states = [(path.relative_to(folder).as_posix(), path.stat()) for path in sorted(folder.rglob("*.tar"))]
    return [[name, state.st_size, state.st_mtime_ns] for name, state in states]


def _scanned(folder: Path, shards: Sequence[str | int], processes: int) -> pa.Table:
    paths = [folder / str(shard) for shard in shards]
    if processes > 1:
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            found = list(pool.map(_scan, paths))
    else:
        found = [_scan(path) for path in paths]
    rows = [{"shard": str(shard), **scene} for shard, scenes in zip(shards, found, strict=True) for scene in scenes]
    lists = [(name, pa.list_(kind)) for name, kind in _FRAME_COLUMNS.items()]
    return pa.Table.from_pylist(rows, pa.schema([("shard", pa.string()), ("scene", pa.string()), *lists]))


def _scan(shard: Path) -> list[dict[str, object]]:
    """The scenes of a shard; one that lacks a picture or a camera is left out with a warning, as in the published loader."""
    scenes: dict[str, dict[str, list[int]]] = {}
    try:
        check_end(shard)
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                _note(scenes, member)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{shard} is damaged: {error}", "download it again") from None
    for scene in [scene for scene, frames in scenes.items() if any(0 in row[1:] for row in frames.values())]:
        _log.warning("left out, a frame lacks its picture or its metadata: %s: %s", shard, scene)
        del scenes[scene]
    return [{"scene": scene, **_columns(frames)} for scene, frames in scenes.items()]


def _note(scenes: dict[str, dict[str, list[int]]], member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    match = FRAME.fullmatch(path.name)
    part = _PARTS.get(path.name.removeprefix(match[1])) if match else None
    if match and part and member.isfile():
        row = scenes.setdefault(str(path.parent), {}).setdefault(match[1], [int(match[1][5:]), 0, 0, 0, 0])
        row[part : part + 2] = member.offset_data, member.size


def _columns(frames: dict[str, list[int]]) -> dict[str, list[int]]:
    rows = [frames[stem] for stem in sorted(frames)]
    return dict(zip(_FRAME_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))


def _write(file: Path, table: pa.Table, known: list[list[str | int]]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            pq.write_table(table.replace_schema_metadata({_SHARDS: _described(known)}), temporary)
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}", "name another place for the index") from None


def _read(file: Path, known: list[list[str | int]]) -> SceneIndex | None:
    """The index, if it is of these shards as they are."""
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException):
        return None
    if (table.schema.metadata or {}).get(_SHARDS) != _described(known):
        return None
    table = table.combine_chunks()
    lists = {name: table[name].combine_chunks() for name in _FRAME_COLUMNS}
    starts = lists["number"].offsets.to_numpy()
    frames = {name: values.values.to_numpy() for name, values in lists.items()}
    return SceneIndex(tuple(table["shard"].to_pylist()), tuple(table["scene"].to_pylist()), starts, frames)


def _described(known: list[list[str | int]]) -> bytes:
    return json.dumps([_FORMAT, known]).encode()
