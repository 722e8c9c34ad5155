"""One shard: its samples written as a tar, and the rows of the index that it gives. Runs in any process."""

import hashlib
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from blender_render.passes import DEPTH_SCALE, load_depth
from blender_render.rendered_object import read_views
from blender_render.view_codecs import view_numbers
from geometry.scene_scales import depth_quantile, near_depth, nearplane_of
from stage.files import put_in_place, temporary_name
from stage.packs import object_folder
from training.data.cameras_file import StoredDepth, cameras_file
from training.data.index import IndexRow
from training.data.members import listed_names, listing, sample_extents, tar_members
from training.data.shard_parameters import ShardParameters
from training.data.shard_plan import PlannedShard, depth_paths, picture_entries, small_view
from training.data.shard_tar import ShardTar
from training.data.sources import SPLATTER, Source
from training.data.squares import middle_square

# Samples that are written before the first of them is hashed.
_AHEAD = 4


@dataclass(frozen=True)
class ShardWriter:
    """Writes planned shards into scratch space.

    Args:
        finished: folder of finished shards, each named by its content.
        renders: folder of loose object folders.
        parameters: encoding and what is included.
    """

    finished: Path
    renders: Path
    parameters: ShardParameters

    def path(self, shard: PlannedShard) -> Path:
        """Where a shard waits once it is finished."""
        return self.finished / f"{shard.content}.tar"

    def write(self, shard: PlannedShard) -> "Draft":
        """Write a shard under a temporary name. One that is finished already is read."""
        path = self.path(shard)
        if path.is_file():
            return Draft(index_rows(path, shard))
        temporary = temporary_name(path)
        try:
            return Draft(self._write(temporary, shard), temporary)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def finish(self, shard: PlannedShard, draft: "Draft") -> None:
        """Flush what was written and give it its name; another thread's work, while the next shard is written."""
        if draft.temporary:
            put_in_place(draft.temporary, self.path(shard))

    def _write(self, path: Path, shard: PlannedShard) -> list[IndexRow]:
        """Write while a thread hashes what was written before, so that no byte is read again."""
        rows: list[Future[IndexRow]] = []
        with ShardTar(path) as archive, ThreadPoolExecutor(1) as hasher:
            for number, source in enumerate(shard.sources):
                start, data = archive.add(self._sample(source))
                rows.append(hasher.submit(_row, data, shard.name, source, start))
                if number >= _AHEAD:
                    # Bounds how many samples are in memory.
                    rows[number - _AHEAD].result()
        return [row.result() for row in rows]

    def _sample(self, source: Source) -> dict[str, str | bytes]:
        folder = object_folder(self.renders, source.key)
        sample: dict[str, str | bytes] = {"__key__": source.key, "cameras.json": self._cameras(source)}
        for number, entry in enumerate(picture_entries(folder)):
            sample |= self._view(source, entry, number)
        if "depth" in self.parameters.include:
            depths = enumerate(depth_paths(source, self.renders))
            sample |= {f"{number:03d}.depth.png": path.read_bytes() for number, path in depths}
        if source.splatter:
            sample[SPLATTER] = source.splatter.read()
        return sample

    def _view(self, source: Source, entry: os.DirEntry[str], number: int) -> dict[str, bytes]:
        if self.parameters.encoding == "as_rendered":
            return {entry.name: _content(entry.path)}
        members = small_view(source, self.renders, number, self.parameters)
        return {f"{number:03d}.{suffix}": data for suffix, data in members.items()}

    def _cameras(self, source: Source) -> bytes:
        depth = self._depth(source) if "depth" in self.parameters.include else None
        return cameras_file(read_views(object_folder(self.renders, source.key)), self.parameters.size, depth)

    def _depth(self, source: Source) -> StoredDepth:
        """What is worked out of an object's depth, one view in memory at a time."""
        nears, quantiles = [], []
        for path in depth_paths(source, self.renders):
            depth = middle_square(load_depth(path))
            nears.append(near_depth(depth))
            quantiles.append(depth_quantile(depth))
        return StoredDepth(DEPTH_SCALE, nearplane_of(nears), quantiles)


@dataclass(frozen=True)
class Draft:
    """A shard that is written."""

    rows: list[IndexRow]
    temporary: Path | None = None
    """Under which name it waits to be flushed; None when it is finished."""


def _content(path: str) -> bytes:
    # Without the buffer of `read_bytes`, which takes as long to make as a picture to read.
    with FileIO(path) as stream:
        return stream.readall()


def index_rows(path: Path, shard: PlannedShard) -> list[IndexRow]:
    """Where each object's members start and end in a shard's tar, and what they hash to."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as tar:
        extents = sample_extents(tar)
        pieces = [(source, *extents[source.key]) for source in shard.sources]
        return [_row(tar[start:stop], shard.name, source, start) for source, start, stop in pieces]


def _row(data: bytes, name: str, source: Source, start: int) -> IndexRow:
    """What the index says of a sample whose bytes start at this byte of a shard."""
    members, sizes, checks = listing(data, source.key)
    return IndexRow(
        shard=name,
        key=source.key,
        offset=start,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        views=len(view_numbers(listed_names(members) or tar_members(data))),
        split=source.asset.split,
        licence=source.asset.licence,
        source=source.asset.source,
        fingerprint=source.fingerprint,
        members=members,
        sizes=sizes,
        checks=checks,
    )
