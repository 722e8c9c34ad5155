"""The pairs of views whose pictures are sampled in the course of a training: always the same ones, unseen where there are any."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from geometry.scene_scales import ScaleName
from stage.errors import InputError
from stage.seeds import generator, quick_generator
from systems.trainable import Views
from training.data.batch_places import stacked_splatters
from training.data.batches import ViewChoice
from training.data.dataset_parameters import DataParameters
from training.data.datasets import validation_datasets
from training.data.squares import MiddleSquare
from training.data.view_sources import ViewSet
from training.data.views import ObjectViews


@dataclass(frozen=True)
class SamplePairs:
    """Pairs of views, the condition last."""

    split: str
    """val, or train where no set has a val."""
    views: Views


@dataclass(frozen=True)
class _Chosen:
    """Views of one object, and their numbers in it."""

    numbers: tuple[int, ...]
    views: ObjectViews


def sample_pairs(
    parameters: DataParameters,
    root: Path,
    training: Mapping[str, ViewSet],
    seed: int,
    pairs: int,
    size: int,
    scale: ScaleName | None = None,
    choice: ViewChoice | None = None,
    *,
    splatters: bool = False,
) -> SamplePairs | None:
    """A seeded choice of pairs, of as many objects as there are up to so many; None when no object can be read.

    Args:
        parameters: the shard sets.
        root: of the workspace.
        training: the training objects of each set by its name.
        seed: the run's.
        pairs: how many.
        size: width and height of the pictures, pixels.
        scale: which scale of scenes the system needs.
        choice: of the two views of an object; any two when None.
        splatters: whether the system wants splatter images.

    Raises:
        StreamError: when the server that has a set cannot be reached.
    """
    readers = list(validation_datasets(parameters, root, scale, splatters=splatters).values())
    split = "val" if readers else "train"
    chosen = _chosen(readers or list(training.values()), seed, pairs, partial(_pair, choice or ViewChoice(), size))
    if not chosen:
        return None
    return SamplePairs(split, _stacked(chosen))


def _stacked(chosen: Sequence[_Chosen]) -> Views:
    objects = [one.views for one in chosen]
    rgba, c2w, intrinsics, scales = (
        torch.from_numpy(np.stack([getattr(views, part) for views in objects]))
        for part in ("rgba", "c2w", "intrinsics", "scales")
    )
    uids, numbers = tuple(views.uid for views in objects), np.array([one.numbers for one in chosen])
    splatters = stacked_splatters([views.splatter for views in objects if views.splatter])
    return Views(uids, numbers, rgba, c2w, intrinsics, scales, splatters)


def _chosen(
    readers: Sequence[ViewSet], seed: int, pairs: int, read: Callable[[ViewSet, int, int], _Chosen]
) -> list[_Chosen]:
    """The first objects of a shuffled order of all that can be read."""
    ends = np.cumsum([len(reader) for reader in readers])
    order = generator(seed, "samples", "objects").permutation(int(ends[-1]))
    chosen: list[_Chosen] = []
    for place in order:
        if len(chosen) == pairs:
            break
        reader = int(np.searchsorted(ends, place, side="right"))
        number = int(place - ends[reader] + len(readers[reader]))
        try:
            chosen.append(read(readers[reader], number, seed))
        except InputError:
            # Damaged or of a single view: training counts such objects, and there are others to show.
            continue
    return chosen


def _pair(choice: ViewChoice, size: int, reader: ViewSet, number: int, seed: int) -> _Chosen:
    count = reader.view_count(number)
    if count < choice.needed:
        raise InputError(f"an object of {count} view has no pair", "render more")
    chance = quick_generator(seed, reader.key(number), "sample views")
    numbers = choice.choose(count, chance)
    views = reader.views(number, numbers)
    square = MiddleSquare.of(views.uid, views.rgba[0], size)
    fitting = replace(
        views,
        rgba=np.stack([square.picture(picture) for picture in views.rgba]),
        intrinsics=square.intrinsics(views.intrinsics),
        scales=np.full((len(numbers), 3), np.nan) if views.scales is None else views.scales,
    )
    return _Chosen(numbers, fitting)
