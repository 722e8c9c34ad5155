"""The shard sets of a training, opened, and the plan of how they are read.

readers = open_datasets(parameters, workspace.root)
plan = plan_of(parameters, readers, batch_size=192, seed=0)
loader = PlannedLoader(plan, sources_of(parameters, readers), ViewChoice(drawn=2), workers=parameters.workers)
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int

from geometry.scene_scales import ScaleName
from stage.errors import InputError
from training.data.cache import ShardCache
from training.data.dataset_parameters import DataParameters, DatasetParameters
from training.data.kept_views import KeptViews
from training.data.mixture import Mixed, draws_at_rate
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.scene_sets import open_scenes
from training.data.streams import open_store
from training.data.view_sources import ViewSet, ViewSource

_SPLIT, _UNSEEN = "train", "val"
# A picture's size is asked of so many objects at the most, which lie in different shards: one that is missing says nothing.
_ATTEMPTS = 16


def place_of(dataset: DatasetParameters, root: Path) -> Path | str:
    """Where a shard set lies: a URL, or a folder below the workspace's root unless it is absolute."""
    return dataset.place if "://" in dataset.place else root / dataset.place


def open_datasets(
    parameters: DataParameters, root: Path, scale: ScaleName | None = None, *, splatters: bool = False
) -> dict[str, ViewSet]:
    """The training objects of each shard set by its name.

    Args:
        parameters: which sets.
        root: of the workspace.
        scale: which scale of scenes the system needs: objects without it count as damaged. ZeroNVS's shards are scanned for it.
        splatters: whether the system learns from splatter images: objects without them are left out.

    Raises:
        InputError: when a set is missing, has no training object, or another number of scenes than is said.
        StreamError: when the server that has it cannot be reached.
    """
    copies = parameters.cache
    remote = any(_is_remote(dataset, root) for dataset in parameters.datasets)
    cache = ShardCache(root / copies.folder, copies.max_bytes) if remote and copies.max_bytes else None
    opened = partial(_opened, parameters=parameters, root=root, split=_SPLIT, scale=scale, splatters=splatters)
    return {dataset.name: opened(dataset, cache=cache) for dataset in parameters.datasets}


def left_out(readers: Mapping[str, ViewSet]) -> list[str]:
    """A line for each set of which objects are left out for want of splatter images."""
    counts = {
        name: (reader.left_out, len(reader)) for name, reader in readers.items() if isinstance(reader, ShardReader)
    }
    return [
        f"{lost} of {lost + left} objects of the set {name} have no splatter images and are left out"
        for name, (lost, left) in counts.items()
        if lost
    ]


def validation_datasets(
    parameters: DataParameters, root: Path, scale: ScaleName | None = None, *, splatters: bool = False
) -> dict[str, ViewSet]:
    """The objects of the split val of those sets that have one, by the set's name.

    Raises:
        StreamError: when the server that has a set cannot be reached.
    """
    found = {}
    for dataset in parameters.datasets:
        # One that has none raises InputError: that it is there the training has found out.
        with suppress(InputError):
            found[dataset.name] = _opened(dataset, parameters, root, _UNSEEN, scale, splatters)
    return found


def _opened(
    dataset: DatasetParameters,
    parameters: DataParameters,
    root: Path,
    split: str,
    scale: ScaleName | None,
    splatters: bool,
    cache: ShardCache | None = None,
) -> ViewSet:
    if dataset.layout == "zeronvs":
        if splatters:
            raise InputError(
                f"the shards {dataset.name} of ZeroNVS's layout have no splatter images",
                "train on shards of objects with shard.include: [splatter]",
            )
        return open_scenes(dataset, parameters, root, split, scale)
    kept = cache if _is_remote(dataset, root) else None
    place, streams = place_of(dataset, root), parameters.streams
    return ShardReader(place, split, cache=kept, streams=streams, scale=scale, splatters=splatters)


def _is_remote(dataset: DatasetParameters, root: Path) -> bool:
    return dataset.layout == "object" and open_store(place_of(dataset, root)).remote


def sources_of(parameters: DataParameters, readers: Mapping[str, ViewSet]) -> dict[str, ViewSource]:
    """What a loader reads of each set: those on the disk keep what they have decoded."""
    return {
        name: reader if reader.remote or not parameters.kept_bytes else KeptViews(reader, parameters.kept_bytes)
        for name, reader in readers.items()
    }


def index_hashes(readers: Mapping[str, ViewSet]) -> dict[str, str]:
    """Hex SHA-256 of each set's index by the set's name, which stands for all of its bytes.

    Raises:
        InputError: when there is none.
        StreamError: when the server that has it cannot be reached.
    """
    return {name: reader.index_sha256() for name, reader in readers.items()}


def plan_of(parameters: DataParameters, readers: Mapping[str, ViewSet], batch_size: int, seed: int) -> Plan:
    """The plan of a training's pairs.

    An epoch is filled up from the next one to whole batches, so that it may be smaller than a batch.

    Args:
        parameters: mixture and order.
        readers: the sets, opened.
        batch_size: pairs of a step, over all processes.
        seed: the run's.

    Raises:
        ParameterError: when no object of a set is drawn.
    """
    mixed = tuple(_mixed(dataset, readers[dataset.name], parameters) for dataset in parameters.datasets)
    return Plan(mixed, batch_size, seed, remainder="wrap", order=parameters.order, window=parameters.window)


def _mixed(dataset: DatasetParameters, reader: ViewSet, parameters: DataParameters) -> Mixed:
    shards = reader.shards if parameters.order == "window" else ()
    return Mixed(dataset.name, len(reader), dataset.probability, _draws(dataset, reader), shards)


def _draws(dataset: DatasetParameters, reader: ViewSet) -> int | Int[np.ndarray, " n"]:
    if dataset.rate is None:
        return dataset.draws
    return draws_at_rate(dataset.rate, reader.counts)


def picture_size(parameters: DataParameters, readers: Mapping[str, ViewSet]) -> int:
    """Width and height of the pictures that are trained on, pixels; from the first that can be read where nothing else is asked.

    Raises:
        InputError: when it is not square, or none can be read.
    """
    if parameters.size:
        return parameters.size
    reader = next(iter(readers.values()))
    for number in range(0, len(reader), -(-len(reader) // _ATTEMPTS)):
        try:
            views = reader.views(number, [0])
        except InputError as error:
            damage = error
            continue
        height, width = views.rgba.shape[1:3]
        if height != width:
            raise InputError(
                f"{views.uid} has pictures of {width}×{height} pixels", "set train.data.size, or render square views"
            )
        return int(width)
    raise damage
