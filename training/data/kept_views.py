"""Decoded views kept in memory: a set that is small enough is decoded once.

What comes first is kept until the bound is reached, and nothing gives way: an order that comes back to each object once an epoch
would find in a cache of the views used last just those that it does not want.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Float, UInt8

from blender_render.view_codecs import Room, no_room
from geometry.splatter_tensor import StoredSplatter
from training.data.view_sources import ViewSource
from training.data.views import ReadViews


class KeptViews:
    """A source that keeps what it has decoded.

    Args:
        source: reads and decodes.
        max_bytes: bound on the pictures and splatter images that are kept, in each process that reads.
    """

    def __init__(self, source: ViewSource, max_bytes: int) -> None:
        self._source, self._left = source, max_bytes
        self._kept: dict[tuple[int, int], ReadViews] = {}
        self._splatters: dict[int, StoredSplatter] = {}

    def __len__(self) -> int:
        return len(self._source)

    def view_count(self, number: int) -> int:
        """How many views an object has."""
        return self._source.view_count(number)

    def read_views(self, number: int, chosen: Sequence[int]) -> ReadViews:
        """Some views of an object, in the order asked for; raises as the source does."""
        missing = [view for view in dict.fromkeys(chosen) if (number, view) not in self._kept]
        read = self._read(number, missing) if missing else {}
        views = [read.get(view) or self._kept[number, view] for view in chosen]
        return ReadViews(
            views[0].uid,
            np.concatenate([view.c2w for view in views]),
            np.concatenate([view.intrinsics for view in views]),
            lambda place, room: views[place].picture(0, room),
            _together([view.scales for view in views]),
            views[0].splatter,
        )

    def _read(self, number: int, chosen: list[int]) -> dict[int, ReadViews]:
        """Single views, each of which is kept when its picture is decoded."""
        read = self._source.read_views(number, chosen)

        def alone(place: int) -> ReadViews:
            one = slice(place, place + 1)
            return ReadViews(
                read.uid,
                read.c2w[one],
                read.intrinsics[one],
                lambda _, room: self._decoded((number, chosen[place]), read, place, room),
                None if read.scales is None else read.scales[one],
                self._splatter(number, read),
            )

        return {view: alone(place) for place, view in enumerate(chosen)}

    def _decoded(self, view: tuple[int, int], read: ReadViews, place: int, room: Room) -> UInt8[np.ndarray, "h w 4"]:
        if self._left <= 0:
            return read.picture(place, room)
        # In memory of its own, for what is in a batch goes with it.
        picture = read.picture(place, no_room)
        if view not in self._kept and picture.nbytes <= self._left:
            self._left -= picture.nbytes
            one = slice(place, place + 1)
            cameras = read.c2w[one].copy(), read.intrinsics[one].copy()
            scales = None if read.scales is None else read.scales[one].copy()
            splatter = self._splatter(view[0], read)
            self._kept[view] = ReadViews(read.uid, *cameras, partial(_same, picture), scales, splatter)
        return picture

    def _splatter(self, number: int, read: ReadViews) -> StoredSplatter | None:
        """An object's splatter images, one copy of them for all of its views that are kept."""
        if read.splatter is None or number in self._splatters:
            return self._splatters.get(number)
        if read.splatter.channels.nbytes <= self._left:
            self._left -= read.splatter.channels.nbytes
            self._splatters[number] = read.splatter
        return read.splatter


def _together(scales: Sequence[Float[np.ndarray, "1 3"] | None]) -> Float[np.ndarray, "v 3"] | None:
    known = [one for one in scales if one is not None]
    return np.concatenate(known) if len(known) == len(scales) else None


def _same(picture: UInt8[np.ndarray, "h w 4"], *_: object) -> UInt8[np.ndarray, "h w 4"]:
    return picture
