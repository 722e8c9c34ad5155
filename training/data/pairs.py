"""Training pairs: which objects and views make up the batch of a step.

A step's pairs follow from (seed, step) alone, so a resumed run sees what an undisturbed one sees, whatever was drawn before.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from blender_render.rendered_object import on_white
from stage.seeds import generator
from training.data.reader import ShardReader


@dataclass(frozen=True)
class ViewPairs:
    """Pairs of views of the same object: RGB on white in [0, 1], and cameras."""

    target: Float[np.ndarray, "b 3 h w"]
    condition: Float[np.ndarray, "b 3 h w"]
    target_c2w: Float[np.ndarray, "b 4 4"]
    condition_c2w: Float[np.ndarray, "b 4 4"]


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, objects: int) -> Int[np.ndarray, " n"]:
    """The order of the objects in one epoch."""
    return generator(seed, f"epoch {epoch}", "order").permutation(objects)


class PairSampler:
    """Draws pairs of distinct views of the same object.

    Every object is drawn equally often: a step takes the next `batch_size` places of an endless sequence of seeded permutations
    of the objects.

    Args:
        reader: objects to draw from.
        batch_size: pairs per step.
        seed: the run's seed.
    """

    def __init__(self, reader: ShardReader, batch_size: int, seed: int) -> None:
        self.reader, self.batch_size, self.seed = reader, batch_size, seed

    def pairs(self, step: int) -> ViewPairs:
        """The pairs of a step, counted from 0."""
        chosen = [self._pair(place) for place in range(step * self.batch_size, (step + 1) * self.batch_size)]
        objects = [self.reader[number] for number, _, _ in chosen]
        targets = np.stack([obj.rgba[t] for obj, (_, t, _) in zip(objects, chosen, strict=True)])
        conditions = np.stack([obj.rgba[c] for obj, (_, _, c) in zip(objects, chosen, strict=True)])
        return ViewPairs(
            target=on_white(targets).transpose(0, 3, 1, 2),
            condition=on_white(conditions).transpose(0, 3, 1, 2),
            target_c2w=np.stack([obj.c2w[t] for obj, (_, t, _) in zip(objects, chosen, strict=True)]),
            condition_c2w=np.stack([obj.c2w[c] for obj, (_, _, c) in zip(objects, chosen, strict=True)]),
        )

    def _pair(self, place: int) -> tuple[int, int, int]:
        """Object, target view and condition view at one place of the endless sequence."""
        epoch, position = divmod(place, len(self.reader))
        number = int(_order(self.seed, epoch, len(self.reader))[position])
        views = self.reader.rows[number].views
        target, condition = generator(self.seed, f"pair {place}", "views").choice(views, 2, replace=False)
        return number, int(target), int(condition)
