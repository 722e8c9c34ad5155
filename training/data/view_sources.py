"""Where views come from: sources of which single views can be had, and objects that only come whole."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from training.data.views import ObjectViews, ReadViews


class Objects(Protocol):
    """Decoded objects in any order; `ShardReader` is one, and so is a plain list of `ObjectViews`."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> ObjectViews: ...


@runtime_checkable
class ViewSource(Protocol):
    """Objects of which single views can be read; `ShardReader` is one."""

    def __len__(self) -> int: ...

    def view_count(self, number: int) -> int:
        """How many views an object has, without decoding it."""

    def read_views(self, number: int, chosen: Sequence[int]) -> ReadViews:
        """Some views of an object, in the order asked for."""


class ViewSet(ViewSource, Protocol):
    """One split of a set, as a training asks for it: `ShardReader` is one, and `ZeroNvsScenes`."""

    split: str

    @property
    def identity(self) -> str:
        """Where it is, for messages: without secrets."""

    @property
    def remote(self) -> bool:
        """Whether it lies elsewhere than on a disk."""

    @property
    def counts(self) -> Int[np.ndarray, " n"]:
        """How many views each object has."""

    @property
    def shards(self) -> tuple[int, ...]:
        """Objects of each shard, in the order of their numbers."""

    @property
    def licences(self) -> tuple[str, ...]:
        """Of the objects, each once; none where nothing states them."""

    def key(self, number: int) -> str:
        """The uid of an object."""

    def index_sha256(self) -> str:
        """What stands for all of the set's bytes."""

    def views(self, number: int, chosen: Sequence[int]) -> ObjectViews:
        """Some views of an object, decoded."""


class WholeObjects:
    """Objects that only come whole, as a source of single views; the one read last is kept."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._last: tuple[int, ObjectViews] | None = None

    def __len__(self) -> int:
        return len(self._objects)

    def view_count(self, number: int) -> int:
        """How many views an object has."""
        return len(self._whole(number).rgba)

    def read_views(self, number: int, chosen: Sequence[int]) -> ReadViews:
        """Some views of an object, in the order asked for."""
        whole, views = self._whole(number), list(chosen)
        return ReadViews(
            whole.uid,
            whole.c2w[views],
            whole.intrinsics[views],
            lambda place, _: whole.rgba[views[place]],
            None if whole.scales is None else whole.scales[views],
            whole.splatter,
        )

    def _whole(self, number: int) -> ObjectViews:
        if self._last is None or self._last[0] != number:
            self._last = number, self._objects[number]
        return self._last[1]


def as_view_source(objects: Objects | ViewSource) -> ViewSource:
    """Objects as a source of single views."""
    return objects if isinstance(objects, ViewSource) else WholeObjects(objects)
