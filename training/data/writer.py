"""The `shard` stage: rendered objects into WebDataset tars, a sample an object, byte-identical on a re-run.

Reads `data/catalog/`, `data/renders/` and, where they are included, `data/splatters/`; finished shards wait in `scratch/shards/`;
writes `data/shards/`. A sample's members are its views (`<uid>.000.png` …, as `blender_render.view_codecs` tells),
`<uid>.cameras.json` (`c2w` in OpenGL axes, intrinsics in pixels) and what `shard.include` names.

A set that is there grows: new objects go into new shards, and shards that are there keep their names and bytes. What is removed or
rendered anew stays in its tar and is listed in `tombstones.parquet`. So the bytes of a set depend on its history, and on nothing
else; written from nothing, or with `--compact`, they depend on the objects and parameters alone. Other parameters write it anew.
"""

import multiprocessing
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from stage.errors import StageKilledError
from stage.files import remove_leftovers, replacing
from stage.lifeline import die_with, exclusive_folder
from stage.packs import unpack_missing
from stage.progress import Progress
from stage.workspace import Workspace
from training.data.history import History, in_order, read_history
from training.data.index import INDEX, TOMBSTONES, IndexRow, write_index, write_tombstones
from training.data.shard_file import ShardWriter
from training.data.shard_parameters import ShardParameters
from training.data.shard_plan import PlannedShard, picture_bytes, plan_shards
from training.data.sources import Source, rendered_sources

__all__ = ["ShardParameters", "write_shards"]


def write_shards(parameters: ShardParameters, workspace: Workspace, compact: bool = False) -> list[IndexRow]:
    """Bring the shard set of a workspace up to its rendered objects; the rows of its index.

    A shard that a killed run finished is kept: its name in scratch space is the hash of what belongs into it.

    Args:
        parameters: of the stage.
        workspace: the workspace.
        compact: write all shards anew, without what is no longer in the set.

    Raises:
        InputError: when there are no renders, or their keys cannot be those of samples.
        StageKilledError: when a process that writes was killed.
        ViewforgeError: when another process writes into the folder.
    """
    sources = rendered_sources(workspace, parameters.include)
    with exclusive_folder(workspace.shards):
        remove_leftovers(workspace.shards)
        history = None if compact else read_history(workspace.shards, parameters.recipe())
        if history is None:
            # An index means a whole set, so an old one goes before the first of its shards does.
            (workspace.shards / INDEX).unlink(missing_ok=True)
            (workspace.shards / TOMBSTONES).unlink(missing_ok=True)
        return _continue(history or History([], []), sources, parameters, workspace)


def _continue(
    history: History, sources: dict[str, Source], parameters: ShardParameters, workspace: Workspace
) -> list[IndexRow]:
    """Write what a set lacks, and then its lists where they change."""
    kept = history.continued(sources)
    known = {row.key for row in kept.alive}
    new = [source for key, source in sources.items() if key not in known]
    rows = in_order([*kept.alive, *_write(new, kept, parameters, workspace)])
    _remove_strangers(workspace.shards, {row.shard for row in (*rows, *kept.dead)})
    # While both lists are not written, the index decides what is alive.
    if kept.dead and kept.dead != history.dead:
        write_tombstones(workspace.shards, kept.dead)
    if rows != history.alive or not rows:
        write_index(workspace.shards, rows, parameters.recipe())
    if not kept.dead:
        write_tombstones(workspace.shards, [])
    shutil.rmtree(workspace.scratch / "shards", ignore_errors=True)
    return rows


def _write(
    sources: Sequence[Source], kept: History, parameters: ShardParameters, workspace: Workspace
) -> list[IndexRow]:
    """Write new objects into new shards and give these their names; their rows."""
    finished, renders = workspace.scratch / "shards", workspace.scratch / "renders"
    finished.mkdir(parents=True, exist_ok=True)
    remove_leftovers(finished)
    unpack_missing(workspace.renders, renders, [source.key for source in sources])
    plan = plan_shards(sources, renders, parameters, kept.pieces)
    writer = ShardWriter(finished, renders, parameters)
    processes = min(len(plan), parameters.processes(sum(picture_bytes(source, renders) for source in sources)))
    rows: list[IndexRow] = []
    with Progress("shard", len(sources), "objects") as progress:
        for shard, written in _written(writer, plan, processes):
            _publish(writer.path(shard), workspace.shards / shard.name)
            rows += written
            progress.advance(len(written))
    return rows


def _written(
    writer: ShardWriter, plan: Sequence[PlannedShard], processes: int
) -> Iterator[tuple[PlannedShard, list[IndexRow]]]:
    """Each planned shard once it is finished, in any order."""
    if processes <= 1:
        yield from ((shard, writer.write(shard)) for shard in plan)
        return
    # Forking a process with threads would copy their locks.
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawning, die_with, (os.getpid(),)) as pool:
        try:
            yield from _as_finished(pool, writer, plan)
        except BrokenProcessPool:
            raise StageKilledError(
                "a process that writes shards", "run viewforge shard again: what is finished is kept"
            ) from None
        finally:
            # After a mistake nobody waits for the others' shards.
            pool.shutdown(cancel_futures=True)


def _as_finished(
    pool: Executor, writer: ShardWriter, plan: Sequence[PlannedShard]
) -> Iterator[tuple[PlannedShard, list[IndexRow]]]:
    futures = {pool.submit(writer.write, shard): shard for shard in plan}
    for future in as_completed(futures):
        yield futures[future], future.result()


def _publish(tar: Path, target: Path) -> None:
    """Give a finished shard its final name, as a link where the file system allows."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(tar, target)
    except OSError:
        with replacing(target) as temporary:
            shutil.copyfile(tar, temporary)


def _remove_strangers(folder: Path, known: set[str]) -> None:
    """Delete the tars that are no longer, or not yet, of the set."""
    for path in folder.glob("*.tar"):
        if path.name not in known:
            path.unlink()
