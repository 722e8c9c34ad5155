"""Where the frames of ZeroNVS's shards lie: found once by a scan (`training.data.zeronvs_scan`), and kept in one file.

A row is a scene, in the order of shards and of the scenes in them: the shard's path below the folder, the scene's name, and of
each of its frames, as lists, number, where the bytes of its picture and of its metadata lie, and, where they are wanted, its
scales. Published shards have no hashes, so a shard is known by its size and time of change, which the file's metadata hold; where
they differ it is scanned again.

Scales take the reading of all depth, hours for a published set. So shards are scanned side by side, what is found is written once
a minute, and a scan that was ended goes on with the shards that it lacks.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeGuard

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from geometry.scene_scales import SCALES
from stage.errors import InputError
from stage.files import replacing
from stage.lifeline import die_with
from stage.progress import Progress
from training.data.zeronvs_scales import WantedScales
from training.data.zeronvs_scan import COLUMNS, ScannedScene, scan_shard
from training.data.zeronvs_shards import SceneShards

NAME = "frames.parquet"
_SHARDS, _SCALES = b"viewforge.shards", b"viewforge.scales"
# Raised when the scan finds other things in the same shards.
_FORMAT = 2
_FRAME_COLUMNS = {name: pa.int64() if name.endswith("_offset") else pa.uint32() for name in COLUMNS}
_SCALE_COLUMNS = dict.fromkeys(SCALES, pa.float32())
_SAVED_EVERY_SECONDS = 60.0

_States = Sequence[Sequence[str | int]]


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
    """`number`, and `…_offset` and `…_size` of picture and metadata, of all frames."""
    scales: Float[np.ndarray, "f 3"] | None
    """Of all frames, as `systems.trainable.Views` has them; None where they were not wanted."""
    sizes: Mapping[str, int]
    """Bytes of each shard."""

    @property
    def views(self) -> Int[np.ndarray, " n"]:
        """How many frames each scene has."""
        return np.diff(self.starts)

    def only(self, kept: Collection[str]) -> "SceneIndex":
        """The scenes of some shards."""
        scenes: Bool[np.ndarray, " n"] = np.array([shard in kept for shard in self.shards])
        frames = np.repeat(scenes, self.views)
        return SceneIndex(
            tuple(shard for shard in self.shards if shard in kept),
            tuple(scene for scene, one in zip(self.scenes, scenes, strict=True) if one),
            np.concatenate([[0], np.cumsum(self.views[scenes])]),
            {name: values[frames] for name, values in self.frames.items()},
            None if self.scales is None else self.scales[frames],
            {name: size for name, size in self.sizes.items() if name in kept},
        )

    def sha256(self) -> str:
        """Hex SHA-256 of all that is known of these scenes, which stands for their bytes, wherever the shards lie."""
        names = [sorted(self.sizes.items()), list(zip(self.shards, self.scenes, strict=True))]
        digest = hashlib.sha256(json.dumps(names).encode())
        for array in (self.starts, *self.frames.values(), *(() if self.scales is None else (self.scales,))):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def scene_index(
    shards: SceneShards, file: Path | None = None, processes: int = 1, wanted: WantedScales | None = None
) -> SceneIndex:
    """The scenes of some shards, from the index's file while that is of these shards as they are.

    Several processes may ask for the same at once: one scans, the others wait for it.

    Args:
        shards: which.
        file: where the index is kept; None is `frames.parquet` in their folder.
        processes: that scan.
        wanted: scales of the frames; an index of more than is wanted will do, and gives no more.

    Raises:
        InputError: when there is no whole scene, a shard is damaged or truncated, the index cannot be written, or the estimator
            that is asked for is not available.
    """
    file, states = file or shards.folder / NAME, shards.states()
    table = _read(file)
    if not _suffices(table, states, wanted):
        with _alone(file):
            # Another process may have made it meanwhile.
            table = _read(file)
            if not _suffices(table, states, wanted):
                table = _completed(shards, table, file, processes, wanted)
    if not len(table):
        raise InputError(f"no whole scene in the shards of {shards.folder}", "name a folder of ZeroNVS's shards")
    return _index_of(table, states, wanted)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Keep other processes from making the same index."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.with_name(f".{file.name}.lock").open("w")
    except OSError as error:
        raise _unwritable(file, error) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _completed(
    shards: SceneShards, before: pa.Table | None, file: Path, processes: int, wanted: WantedScales | None
) -> pa.Table:
    """The index of all shards, of which an earlier one may have some; written."""
    states, scales = shards.states(), wanted.identity if wanted else ""
    rows = _still_true(before, states, scales)
    columns = _FRAME_COLUMNS | (_SCALE_COLUMNS if wanted else {})
    missing = [name for name in shards.names if name not in rows]
    paths = [shards.folder / name for name in missing]
    saved = time.monotonic()
    with (
        Progress("scan", len(states), "shards", done=len(rows)) as progress,
        _scanned(paths, processes, wanted) as found,
    ):
        for shard, scenes in zip(missing, found, strict=True):
            rows[shard] = _table(shard, scenes, columns)
            progress.advance()
            if time.monotonic() - saved > _SAVED_EVERY_SECONDS:
                _write(file, rows, states, scales)
                saved = time.monotonic()
    return _write(file, rows, states, scales)


def _still_true(before: pa.Table | None, states: _States, scales: str) -> dict[str, pa.Table]:
    """Of an earlier index, the rows of those shards that have not changed since."""
    if before is None or _described(before)[1] != scales:
        return {}
    known = {tuple(state) for state in _described(before)[0]}
    same = [str(state[0]) for state in states if tuple(state) in known]
    return {shard: before.filter(pc.equal(before["shard"], shard)) for shard in same}


@contextmanager
def _scanned(
    paths: Sequence[Path], processes: int, wanted: WantedScales | None
) -> Iterator[Iterator[list[ScannedScene]]]:
    """The scenes of each shard, in order."""
    scan = partial(scan_shard, wanted=wanted)
    if processes <= 1 or len(paths) <= 1:
        yield map(scan, paths)
        return
    dies_with_me = partial(die_with, os.getpid())
    with ProcessPoolExecutor(min(processes, len(paths)), get_context("spawn"), dies_with_me) as pool:
        try:
            yield pool.map(scan, paths)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _table(shard: str, scenes: Sequence[ScannedScene], columns: Mapping[str, pa.DataType]) -> pa.Table:
    lists = [(name, pa.list_(kind)) for name, kind in columns.items()]
    rows = [{"shard": shard, **scene} for scene in scenes]
    return pa.Table.from_pylist(rows, pa.schema([("shard", pa.string()), ("scene", pa.string()), *lists]))


def _write(file: Path, rows: Mapping[str, pa.Table], states: _States, scales: str) -> pa.Table:
    """The index of those shards of which there are rows; written."""
    known = [state for state in states if state[0] in rows]
    described = {_SHARDS: json.dumps([_FORMAT, known]).encode(), _SCALES: scales.encode()}
    table = pa.concat_tables([rows[str(shard)] for shard, *_ in known]).replace_schema_metadata(described)
    try:
        with replacing(file) as temporary:
            pq.write_table(table, temporary)
    except OSError as error:
        raise _unwritable(file, error) from None
    return table


def _unwritable(file: Path, error: OSError) -> InputError:
    return InputError(f"{file} cannot be written: {error.strerror}", "name another place for the index")


def _read(file: Path) -> pa.Table | None:
    """The index, whatever shards it is of; None where there is none that can be read."""
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException):
        return None
    version = json.loads((table.schema.metadata or {}).get(_SHARDS, b"[0]"))[0]
    return table if version == _FORMAT else None


def _described(table: pa.Table) -> tuple[_States, str]:
    """Of which shards an index is, and where its scales are from; empty where it has none."""
    return json.loads(table.schema.metadata[_SHARDS])[1], table.schema.metadata[_SCALES].decode()


def _suffices(table: pa.Table | None, states: _States, wanted: WantedScales | None) -> TypeGuard[pa.Table]:
    """Whether an index is of these shards as they are, and has the scales that are wanted."""
    if table is None:
        return False
    known, kind = _described(table)
    if wanted and (wanted.depth or not kind) and kind != wanted.identity:
        return False
    return known == states


def _index_of(table: pa.Table, states: _States, wanted: WantedScales | None) -> SceneIndex:
    table = table.combine_chunks()
    lists = {name: table[name].combine_chunks() for name in table.column_names[2:]}
    starts = lists["number"].offsets.to_numpy()
    values = {name: column.values.to_numpy() for name, column in lists.items()}
    found = [values.pop(name) for name in SCALES if name in values]
    scales = np.stack(found, axis=-1) if wanted else None
    if scales is not None and wanted and not wanted.depth:
        scales[:, 1:] = np.nan
    sizes = {str(name): int(size) for name, size, _ in states}
    return SceneIndex(
        tuple(table["shard"].to_pylist()), tuple(table["scene"].to_pylist()), starts, values, scales, sizes
    )
