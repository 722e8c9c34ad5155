"""Orders in which a dataset is read once through: any order at all, or one that reads shards from front to back.

`full` is a permutation: the best mixture, and every sample is a read of its own. `window` shuffles the shards, lays them one
behind the other and shifts samples by less than `window` places: a reader has few shards open at a time and goes through each
of them once, which is what a remote store or a disk with a head wants.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int

Order = Literal["full", "window"]


def full_order(samples: int, chance: np.random.Generator) -> Int[np.ndarray, " n"]:
    """A permutation of all samples."""
    return chance.permutation(samples).astype(_dtype(samples))


def window_order(shards: Sequence[int], window: int, chance: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Shards in a shuffled order, their samples less than `window` places from where they would lie.

    Args:
        shards: number of samples of each shard, in the order of the samples' numbers.
        window: 1 leaves each shard's own order.
        chance: where the order comes from.
    """
    sizes = np.asarray(shards)
    samples = int(sizes.sum())
    starts = np.cumsum(sizes) - sizes
    shuffled = chance.permutation(len(sizes))
    # Where each shard begins in the new order, repeated for its samples, and how far a sample is into its shard.
    behind = np.cumsum(sizes[shuffled]) - sizes[shuffled]
    laid = np.repeat(starts[shuffled] - behind, sizes[shuffled]) + np.arange(samples)
    # Sample i takes the rank of i + u among all, 0 ≤ u < window: who lies `window` behind it can never pass it.
    shifted = np.arange(samples) + chance.uniform(0, window, samples)
    return laid[np.argsort(shifted, kind="stable")].astype(_dtype(samples))


def _dtype(samples: int) -> type[np.signedinteger]:
    """Half the memory where it is enough."""
    return np.int32 if samples <= np.iinfo(np.int32).max else np.int64
