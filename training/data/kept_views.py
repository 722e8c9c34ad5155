"""Decoded views kept in memory: a set that is small enough is decoded once.

What comes first is kept until the bound is reached, and nothing gives way: an order that comes back to each object once an epoch
would find in a cache of the views used last just those that it does not want.
"""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from training.data.batches import ViewSource
from training.data.reader import ObjectViews

_ARRAYS = [field.name for field in fields(ObjectViews) if field.name != "uid"]


class KeptViews:
    """A source that keeps what it has decoded.

    Args:
        source: decodes.
        max_bytes: bound on the pictures that are kept, in each process that reads.
    """

    def __init__(self, source: ViewSource, max_bytes: int) -> None:
        self._source, self._left = source, max_bytes
        self._kept: dict[tuple[int, int], ObjectViews] = {}

    def __len__(self) -> int:
        return len(self._source)

    def view_count(self, number: int) -> int:
        """How many views an object has."""
        return self._source.view_count(number)

    def views(self, number: int, chosen: Sequence[int]) -> ObjectViews:
        """Some views of an object, in the order asked for; raises as the source does."""
        missing = [view for view in dict.fromkeys(chosen) if (number, view) not in self._kept]
        decoded = self._decoded(number, missing) if missing else {}
        return _together([decoded.get(view) or self._kept[number, view] for view in chosen])

    def _decoded(self, number: int, chosen: list[int]) -> dict[int, ObjectViews]:
        decoded = self._source.views(number, chosen)
        alone = {view: _alone(decoded, place) for place, view in enumerate(chosen)}
        if decoded.rgba.nbytes <= self._left:
            self._left -= decoded.rgba.nbytes
            self._kept |= {(number, view): one for view, one in alone.items()}
        return alone


def _alone(views: ObjectViews, place: int) -> ObjectViews:
    return ObjectViews(views.uid, *(getattr(views, name)[place : place + 1] for name in _ARRAYS))


def _together(views: list[ObjectViews]) -> ObjectViews:
    return ObjectViews(views[0].uid, *(np.concatenate([getattr(one, name) for one in views]) for name in _ARRAYS))
