"""Baselines that cost nothing: a model that does not beat them has learned nothing worth having.

Each answers, for one object, with a picture for every target view, RGB on white in [0, 1].
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float


def copy_input(condition: Float[np.ndarray, "h w 3"], targets: int) -> Float[np.ndarray, "t h w 3"]:
    """The input view for every target: the object does not turn at all."""
    return np.broadcast_to(condition, (targets, *condition.shape))


def mean_image(views: Iterable[Float[np.ndarray, "_ h w 3"]]) -> Float[np.ndarray, "h w 3"]:
    """The mean over all views of all training objects, which has the least squared error of all constant answers.

    Args:
        views: the views of each object; an object with more views weighs more.

    Raises:
        ValueError: when there is no view.
    """
    total, count = None, 0
    for pictures in views:
        # float64: a sum of a million float32 pictures would no longer notice the next one.
        batch = pictures.sum(axis=0, dtype=np.float64)
        total = batch if total is None else total + batch
        count += len(pictures)
    if total is None:
        raise ValueError("no view to take the mean of")
    return (total / count).astype(np.float32)
