"""Training pairs: which objects and views make up the batch of a step.

A pair follows from the seed and its place in the sequence alone, so a resumed run sees what an undisturbed one sees.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from blender_render.rendered_object import on_white
from stage.errors import InputError
from stage.seeds import generator
from training.data.reader import ObjectViews, ShardReader


@dataclass(frozen=True)
class ViewPairs:
    """Pairs of views of the same object: RGB on white in [0, 1], and cameras."""

    target: Float[np.ndarray, "b 3 h w"]
    target_c2w: Float[np.ndarray, "b 4 4"]
    condition: Float[np.ndarray, "b 3 h w"]
    condition_c2w: Float[np.ndarray, "b 4 4"]


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, objects: int) -> Int[np.ndarray, " n"]:
    """The order of the objects in one epoch."""
    return generator(seed, f"epoch {epoch}", "order").permutation(objects)


class PairSampler:
    """Draws pairs of distinct views of the same object.

    The pairs form an endless sequence: seeded permutations of the objects one after the other, so that every object
    comes equally often. A step takes the next places of it.

    Args:
        reader: objects to draw from.
        seed: the run's seed.

    Raises:
        InputError: when an object has a single view.
    """

    def __init__(self, reader: ShardReader, seed: int) -> None:
        alone = [row.key for row in reader.rows if row.views < 2]
        if alone:
            raise InputError(f"{reader.folder}: {alone[0]} has one view, pairs need two", "raise render.views")
        self.reader, self.seed = reader, seed

    def pairs(self, start: int, stop: int) -> ViewPairs:
        """The pairs at places start ≤ place < stop of the sequence."""
        chosen = [self._pair(place) for place in range(start, stop)]
        objects = [self.reader[number] for number, _, _ in chosen]
        targets = [(obj, view) for obj, (_, view, _) in zip(objects, chosen, strict=True)]
        conditions = [(obj, view) for obj, (_, _, view) in zip(objects, chosen, strict=True)]
        return ViewPairs(*_stack(targets), *_stack(conditions))

    def _pair(self, place: int) -> tuple[int, int, int]:
        """Object, target view and condition view at one place."""
        epoch, position = divmod(place, len(self.reader))
        number = int(_order(self.seed, epoch, len(self.reader))[position])
        views = self.reader.rows[number].views
        target, condition = generator(self.seed, f"pair {place}", "views").choice(views, 2, replace=False)
        return number, int(target), int(condition)


def _stack(
    views: list[tuple[ObjectViews, int]],
) -> tuple[Float[np.ndarray, "b 3 h w"], Float[np.ndarray, "b 4 4"]]:
    pictures = on_white(np.stack([obj.rgba[view] for obj, view in views]))
    return pictures.transpose(0, 3, 1, 2), np.stack([obj.c2w[view] for obj, view in views])
