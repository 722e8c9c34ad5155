"""The `shard` stage: rendered objects into WebDataset tars, a sample an object, byte-identical on a re-run.

Reads `data/catalog/`, `data/renders/` and, where they are included, `data/splatters/`; finished shards wait in `scratch/shards/`;
writes `data/shards/`, or `shard.output_root` and in `data/shards/` the lists and where the tars are. A sample's members are its
views (`<uid>.000.png` …, as `blender_render.view_codecs` tells), `<uid>.cameras.json` (`c2w` in OpenGL axes, intrinsics in
pixels) and what `shard.include` names.

A set that is there grows: new objects go into new shards, and shards that are there keep their names and bytes. What is removed
or rendered anew stays in its tar and is listed in `tombstones.parquet`. So the bytes of a set depend on its history, and on
nothing else; written from nothing, or with `--compact`, they depend on the objects and parameters alone. Other parameters write
it anew; the old set stays whole until the new one is.
"""

import shutil
from collections.abc import Sequence

from stage.changes import Changes
from stage.files import remove_leftovers
from stage.lifeline import exclusive_folder
from stage.packs import unpack_missing
from stage.progress import Progress
from stage.workspace import Workspace
from training.data.history import History, in_order, read_history
from training.data.index import INDEX, TOMBSTONES, IndexRow, write_index, write_tombstones
from training.data.shard_crew import written_shards
from training.data.shard_file import ShardWriter
from training.data.shard_parameters import ShardParameters
from training.data.shard_place import ShardPlace, shard_place
from training.data.shard_plan import PlannedShard, picture_bytes, plan_shards
from training.data.shard_store import StreamParameters
from training.data.sources import Source, rendered_sources

__all__ = ["ShardParameters", "write_shards"]


def write_shards(
    parameters: ShardParameters,
    workspace: Workspace,
    compact: bool = False,
    streams: StreamParameters | None = None,
    changes: Changes | None = None,
) -> list[IndexRow]:
    """Bring the shard set of a workspace up to its rendered objects; the rows of its index.

    A shard that a killed run finished is kept: its name in scratch space is the hash of what belongs into it.

    Args:
        parameters: of the stage.
        workspace: the workspace.
        compact: write all shards anew, without what is no longer in the set.
        streams: how patiently the server of an output root is asked.
        changes: is told how many objects were written and how many stayed, and the shards of both.

    Raises:
        InputError: when there are no renders, their keys cannot be those of samples, or the output root holds another's set.
        StageKilledError: when a process that writes was killed.
        StreamError: when the output root cannot be reached.
        ViewforgeError: when another process writes into the folder or the output root.
    """
    sources = rendered_sources(workspace, parameters.include)
    with exclusive_folder(workspace.shards):
        remove_leftovers(workspace.shards)
        place = shard_place(parameters.output_root, workspace, streams or StreamParameters())
        with place.held():
            rows, kept = _brought_up(place, sources, parameters, workspace, compact)
        shutil.rmtree(workspace.scratch / "shards", ignore_errors=True)
    if changes:
        shards = {row.shard for row in rows}
        changes.made, changes.kept = len(rows) - len(kept.alive), len(kept.alive)
        changes.files, changes.written = len(shards), len(shards - {row.shard for row in kept.pieces})
    return rows


def _brought_up(
    place: ShardPlace, sources: dict[str, Source], parameters: ShardParameters, workspace: Workspace, compact: bool
) -> tuple[list[IndexRow], History]:
    """Write what a set lacks, and then its lists where they change; the rows, and what was there and stays."""
    lists, recipe = place.lists(), parameters.recipe()
    history = None if compact else read_history(lists, recipe, place.sizes())
    place.begin(anew=history is None, wanted=compact)
    kept = (history or History([], [])).continued(sources)
    known = {row.key for row in kept.alive}
    new = [source for key, source in sources.items() if key not in known]
    rows = in_order([*kept.alive, *_write(new, kept, place, parameters, workspace)])
    place.settle()
    # While both lists are not written, the index decides what is alive.
    if kept.dead and (history is None or kept.dead != history.dead):
        write_tombstones(lists, kept.dead)
        place.publish(TOMBSTONES)
    if history is None or rows != history.alive:
        write_index(lists, rows, recipe)
        place.publish(INDEX)
    if not kept.dead:
        place.withdraw(TOMBSTONES)
    place.finish({row.shard for row in (*rows, *kept.dead)})
    return rows, kept


def _write(
    sources: Sequence[Source], kept: History, place: ShardPlace, parameters: ShardParameters, workspace: Workspace
) -> list[IndexRow]:
    """Write new objects into new shards; their rows."""
    finished, renders = workspace.scratch / "shards", workspace.scratch / "renders"
    finished.mkdir(parents=True, exist_ok=True)
    remove_leftovers(finished)
    unpack_missing(workspace.renders, renders, [source.key for source in sources])
    plan = plan_shards(sources, renders, parameters, kept.pieces)
    delivered = {shard.name: rows for shard in plan if (rows := place.delivery.delivered(shard)) is not None}
    missing = [shard for shard in plan if shard.name not in delivered]
    work = sum(picture_bytes(source, renders) for shard in missing for source in shard.sources)
    processes = max(1, min(len(missing), parameters.processes(work)))
    writer = ShardWriter(finished, renders, parameters)

    def take(shard: PlannedShard, rows: Sequence[IndexRow]) -> None:
        place.delivery.take(shard, writer.path(shard), rows)

    rows = [row for of_shard in delivered.values() for row in of_shard]
    with Progress("shard", len(sources), "objects", done=len(rows)) as progress:
        for _, written in written_shards(writer, missing, processes, parameters.threads(), take):
            rows += written
            progress.advance(len(written))
    return rows
