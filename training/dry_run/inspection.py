"""A look at the shard sets of a training, as cheap as it can be and still find what would stop a run hours later.

Of each set: the index by its checksums, the split, every shard's size (one request each where they are on a server), the last
object of some shards by its hash, and one object with its pictures and cameras. `viewforge shards verify` reads everything.
ZeroNVS's shards, which have no hashes, are scanned as for the training, which then need not do it.
"""

import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from geometry.scene_scales import ScaleName
from stage.errors import InputError
from training.data.dataset_parameters import DataParameters, DatasetParameters
from training.data.datasets import left_out, open_datasets, place_of
from training.data.index import INDEX, IndexRow, IndexRows
from training.data.samples import CheckedSamples
from training.data.shard_store import ShardStore
from training.data.streams import open_store
from training.data.view_sources import ViewSet
from training.data.views import ObjectViews
from training.dry_run.problems import Problem, noting

_SPLIT = "train"
# Requests side by side, and shards of which an object is read.
_AT_ONCE, _SAMPLED = 16, 64
_PUBLISH = "publish the set again, or restore it"


def inspected(
    parameters: DataParameters, root: Path, scale: ScaleName | None = None, *, splatters: bool = False
) -> tuple[dict[str, ViewSet], list[Problem]]:
    """The sets that can be read, and what is wrong with any.

    Args:
        parameters: which sets.
        root: of the workspace.
        scale: which scale of scenes the system needs.
        splatters: whether it learns from splatter images.
    """
    problems: list[Problem] = []
    readers: dict[str, ViewSet] = {}
    sizes: dict[str, int] = {}
    for dataset in parameters.datasets:
        name = f"data {dataset.name}"
        with noting(problems, name):
            if dataset.layout == "object":
                problems += _shards(dataset, parameters, root, name)
        if any(problem.place == name for problem in problems):
            continue
        with noting(problems, name):
            reader = open_datasets(_uncached(dataset, parameters), root, scale, splatters=splatters)[dataset.name]
            problems += [
                Problem(name, line, "run viewforge splatter for them, then viewforge shard", fatal=False)
                for line in left_out({dataset.name: reader})
            ]
            problems += _rows(reader, parameters, name)
            sizes[dataset.name] = _checked_size(reader, parameters)
            readers[dataset.name] = reader
    if not parameters.size and len(set(sizes.values())) > 1:
        widths = ", ".join(f"{name} {size}" for name, size in sizes.items())
        problems.append(
            Problem("data", f"the sets have pictures of different widths: {widths} pixels", "set train.data.size")
        )
    return readers, problems


def _uncached(dataset: DatasetParameters, parameters: DataParameters) -> DataParameters:
    """One set alone; for a single object no shard is brought whole."""
    cache = parameters.cache.model_copy(update={"max_bytes": 0})
    alone = dataset.model_copy(update={"probability": 1.0})
    return parameters.model_copy(update={"datasets": (alone,), "cache": cache})


def _shards(dataset: DatasetParameters, parameters: DataParameters, root: Path, name: str) -> list[Problem]:
    """What is wrong with the files of a set.

    Raises:
        InputError: when the set has no index, or a damaged one, or no object to train on.
        StreamError: when the server that has it cannot be reached.
    """
    store = open_store(place_of(dataset, root), parameters.streams)
    rows = store.rows()
    if not len(trained := rows.of_split(_SPLIT)):
        raise InputError(
            f"{store.where(INDEX)} lists no object of the split {_SPLIT}", "add objects, or change catalog.split"
        )
    last = _last_objects(rows, store.tombstones(rows))
    ends = [last[shard] for shard in sorted(trained.shards)]
    sized = dict(zip((row.shard for row in ends), _sizes(store, ends), strict=True))
    problems = [found for row in ends for found in _wrong_size(store, row, sized[row.shard], name)]
    if problems:
        return problems
    return [found for row in ends[:: -(-len(ends) // _SAMPLED)] for found in _wrong_bytes(store, row, name)]


def _last_objects(rows: IndexRows, dead: Sequence[IndexRow]) -> dict[str, IndexRow]:
    """The last object of each shard; what was removed since lies in the tars nevertheless."""
    names = rows.shards
    shard = pc.index_in(rows.table["shard"].cast(pa.string()), value_set=pa.array(names)).to_numpy()
    order = np.lexsort((rows.table["offset"].to_numpy(), shard))
    ends = np.flatnonzero(np.diff(shard[order], append=len(names)))
    last = {row.shard: row for row in (rows[int(number)] for number in order[ends])}
    for row in dead:
        if row.shard in last and row.offset > last[row.shard].offset:
            last[row.shard] = row
    return last


def _sizes(store: ShardStore, ends: Sequence[IndexRow]) -> list[int | InputError]:
    """Bytes of the shards, or why there are none."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            return list(pool.map(lambda row: _size(store, row.shard), ends))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _size(store: ShardStore, shard: str) -> int | InputError:
    try:
        return store.size(shard)
    except InputError as error:
        return error


def _wrong_size(store: ShardStore, last: IndexRow, size: int | InputError, name: str) -> Iterator[Problem]:
    """A shard is missing, cut short, or longer than its last object and the end of a tar."""
    where = store.where(last.shard)
    if isinstance(size, InputError):
        yield Problem(name, f"the shard {where} is missing", size.remedy or _PUBLISH)
        return
    end = last.offset + last.size
    whole = -(-(end + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
    if size < end:
        what = f"it has {size:,} bytes, and its last object, {last.key}, ends at byte {end:,}"
        yield Problem(name, f"the shard {where} is cut short: {what}", store.remedy)
    elif size != whole:
        what = f"it has {size:,} bytes, by {INDEX} it should have {whole:,}"
        yield Problem(name, f"the shard {where} is not the one that was listed: {what}", store.remedy)


def _wrong_bytes(store: ShardStore, last: IndexRow, name: str) -> Iterator[Problem]:
    """The last object of a shard is not the one that the index names."""
    problems: list[Problem] = []
    with noting(problems, name):
        CheckedSamples(store).read(last)
    yield from problems


def _rows(reader: ViewSet, parameters: DataParameters, name: str) -> Iterator[Problem]:
    """Objects of too few views."""
    single = int((reader.counts < 2).sum())
    if single > parameters.max_failure_rate * len(reader):
        first = reader.key(int(np.flatnonzero(reader.counts < 2)[0]))
        yield Problem(
            name,
            f"{single} of {len(reader)} objects have fewer than the two views of a pair, the first is {first}",
            "leave them out, or render more views of them",
        )


def _checked_size(reader: ViewSet, parameters: DataParameters) -> int:
    """Width of the pictures of a set by one of its objects, all of whose views are decoded.

    Raises:
        InputError: when the object cannot be read, or its pictures or cameras cannot be trained on.
    """
    views = reader.views(len(reader) // 2, range(reader.view_count(len(reader) // 2)))
    height, width = views.rgba.shape[1:3]
    whose = f"{reader.identity}, object {views.uid}"
    if parameters.size and parameters.size > min(height, width):
        raise InputError(
            f"{whose}: pictures of {width}×{height} pixels cannot be made {parameters.size} wide",
            "lower train.data.size, or render larger views",
        )
    if not parameters.size and height != width:
        raise InputError(
            f"{whose}: pictures of {width}×{height} pixels", "set train.data.size, or render square views"
        )
    if wrong := wrong_cameras(views):
        raise InputError(f"{whose}: {wrong}", "write the set again from cameras as docs/conventions.md has them")
    return int(width)


def wrong_cameras(views: ObjectViews) -> str:
    """What is wrong with the cameras of an object; empty when nothing is."""
    height, width = views.rgba.shape[1:3]
    for number, (c2w, lens) in enumerate(zip(views.c2w, views.intrinsics, strict=True)):
        if wrong := _wrong_pose(c2w) or _wrong_lens(lens, width, height):
            return f"the camera of view {number} {wrong}"
    centres = views.c2w[:, :3, 3]
    if len(centres) > 1 and not np.ptp(centres, axis=0).any():
        return f"all {len(centres)} cameras are at one place"
    return ""


def _wrong_pose(c2w: Float[np.ndarray, "4 4"]) -> str:
    if not np.isfinite(c2w).all():
        return "holds numbers that are not finite"
    rotation = c2w[:3, :3]
    if not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-3):
        return "has no rotation: its axes are not orthogonal and of length 1"
    if np.linalg.det(rotation) < 0:
        return "is a mirror image: its determinant is −1"
    return "" if np.allclose(c2w[3], (0, 0, 0, 1)) else "does not end in the row 0, 0, 0, 1"


def _wrong_lens(lens: Float[np.ndarray, "4"], width: int, height: int) -> str:
    fx, fy, cx, cy = lens
    if not np.isfinite(lens).all() or min(fx, fy) <= 0:
        return f"has the focal lengths {fx:g} and {fy:g}"
    inside = 0 <= cx <= width and 0 <= cy <= height
    return "" if inside else f"has its principal point, {cx:g}, {cy:g}, outside the {width}×{height} picture"
