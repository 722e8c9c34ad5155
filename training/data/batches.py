"""Batches of views: what a loader's worker makes of a plan's draws.

A batch follows from its draws alone: which views each takes is seeded by (seed, dataset, draw), and so is the sample that
stands in for a damaged one. Workers keep no state.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from stage.errors import InputError, ParameterError, ViewforgeError
from stage.seeds import generator
from training.data.mixture import Mixed
from training.data.plan import Draws
from training.data.reader import ObjectViews
from training.data.squares import squared

# Damaged samples in a row before a batch gives up; by then the share of them is past any limit.
_ATTEMPTS = 16


class Objects(Protocol):
    """Decoded objects in any order; `ShardReader` is one, and so is a plain list of `ObjectViews`."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> ObjectViews: ...


@runtime_checkable
class ViewSource(Protocol):
    """Objects of which single views can be decoded; `ShardReader` is one."""

    def __len__(self) -> int: ...

    def view_count(self, number: int) -> int:
        """How many views an object has, without decoding it."""

    def views(self, number: int, chosen: Sequence[int]) -> ObjectViews:
        """Some views of an object, in the order asked for."""


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

    def views(self, number: int, chosen: Sequence[int]) -> ObjectViews:
        """Some views of an object, in the order asked for."""
        whole, views = self._whole(number), list(chosen)
        return ObjectViews(whole.uid, whole.rgba[views], whole.c2w[views], whole.intrinsics[views])

    def _whole(self, number: int) -> ObjectViews:
        if self._last is None or self._last[0] != number:
            self._last = number, self._objects[number]
        return self._last[1]


def as_view_source(objects: Objects | ViewSource) -> ViewSource:
    """Objects as a source of single views."""
    return objects if isinstance(objects, ViewSource) else WholeObjects(objects)


@dataclass(frozen=True)
class ViewChoice:
    """Which views a draw takes: some by their number, then others by chance, all distinct.

    A pair of Zero-1-to-3 is `ViewChoice(drawn=2)`, the condition last. Zero-1-to-G's condition and six target views with N more
    for supervision is `ViewChoice(fixed=(0, 1, 2, 3, 4, 5, 6), drawn=N)`.

    Raises:
        ParameterError: when no view is chosen, or one twice.
    """

    fixed: tuple[int, ...] = ()
    drawn: int = 2

    def __post_init__(self) -> None:
        if self.drawn < 0 or len(self) < 1 or len(set(self.fixed)) < len(self.fixed) or min(self.fixed, default=0) < 0:
            raise ParameterError(f"views {self.fixed} and {self.drawn} others", "choose at least one, and none twice")

    def __len__(self) -> int:
        return len(self.fixed) + self.drawn

    @property
    def needed(self) -> int:
        """How many views an object must have."""
        return max(len(self), max(self.fixed, default=0) + 1)

    def choose(self, count: int, chance: np.random.Generator) -> tuple[int, ...]:
        """The views of one draw from an object that has `count` of them."""
        others = [view for view in range(count) if view not in self.fixed]
        return (*self.fixed, *(others[i] for i in chance.choice(len(others), self.drawn, replace=False)))


@dataclass(frozen=True)
class ViewBatch:
    """Views of several objects: sRGB pictures with straight alpha, and c2w cameras in OpenGL axes."""

    epoch: int
    number: int
    """Place of the global batch in its epoch."""
    dataset: Int[np.ndarray, " b"]
    """Number of the dataset in the plan."""
    uids: tuple[str, ...]
    views: Int[np.ndarray, "b v"]
    """Numbers of the views in their object, as `ViewChoice` orders them."""
    rgba: UInt8[Tensor, "b v h w 4"]
    c2w: Float[Tensor, "b v 4 4"]
    intrinsics: Float[Tensor, "b v 4"]
    """fx, fy, cx, cy in pixels of the pictures as they are here."""

    def pin_memory(self) -> "ViewBatch":
        """The same in memory that a GPU copies from while it computes; PyTorch's loader asks for it."""
        tensors = {name: getattr(self, name).pin_memory() for name in ("rgba", "c2w", "intrinsics")}
        return replace(self, **tensors)


@dataclass(frozen=True)
class Damage:
    """A sample that could not be read."""

    dataset: str
    sample: int
    message: str
    """What is wrong, with shard and key, in one line."""


@dataclass(frozen=True)
class MadeBatch:
    """What a worker sends back."""

    draws: Draws
    result: ViewBatch | ViewforgeError
    """The batch, or why there is none: a value, because PyTorch's loader would make a traceback of what is raised."""
    damaged: tuple[Damage, ...]

    def pin_memory(self) -> "MadeBatch":
        """The same with its batch in pinned memory."""
        return replace(self, result=self.result.pin_memory()) if isinstance(self.result, ViewBatch) else self


@dataclass
class _Unfilled:
    """The places of a batch, and which sample each is to be read from."""

    draws: Draws
    read: dict[int, tuple[ObjectViews, tuple[int, ...]]] = field(default_factory=dict)
    samples: dict[int, int] = field(default_factory=dict)
    damaged: dict[tuple[int, int], str] = field(default_factory=dict)

    def visits(self) -> dict[tuple[int, int], list[int]]:
        """Places that are yet to be read, by dataset and sample."""
        visits: dict[tuple[int, int], list[int]] = {}
        for place, sample in self.samples.items():
            visits.setdefault((int(self.draws.dataset[place]), sample), []).append(place)
        return visits


class BatchMaker(Dataset[MadeBatch]):
    """A map from a plan's draws to their batch, for `torch.utils.data.DataLoader`.

    Args:
        datasets: those of the plan, in its order.
        sources: the objects of each dataset by its name.
        choice: which views a draw takes.
        seed: the plan's.
        size: width and height in pixels of all pictures; None leaves them as they are stored.
    """

    def __init__(
        self,
        datasets: Sequence[Mixed],
        sources: Mapping[str, ViewSource],
        choice: ViewChoice,
        seed: int,
        size: int | None = None,
    ) -> None:
        self.datasets = tuple(datasets)
        self.sources = [sources[dataset.name] for dataset in self.datasets]
        self.choice, self.seed, self.size = choice, seed, size

    def __getitem__(self, draws: Draws) -> MadeBatch:
        """The batch of these draws, or why there is none."""
        unfilled = _Unfilled(draws, samples=dict(enumerate(draws.sample.tolist())))
        result: ViewBatch | ViewforgeError
        try:
            self._fill(unfilled)
            result = self._stacked(unfilled)
        except ViewforgeError as error:
            result = error
        damaged = [Damage(self.datasets[d].name, s, text) for (d, s), text in unfilled.damaged.items()]
        return MadeBatch(draws, result, tuple(damaged))

    def _fill(self, unfilled: _Unfilled) -> None:
        for attempt in range(_ATTEMPTS):
            for (dataset, sample), chosen in self._chosen(unfilled).items():
                try:
                    unfilled.read |= self._visit(dataset, sample, chosen)
                except InputError as error:
                    unfilled.damaged[dataset, sample] = str(error)
                    unfilled.read |= self._visits_apart(dataset, sample, chosen)
            places = [place for place in unfilled.samples if place not in unfilled.read]
            unfilled.samples = {place: self._stand_in(unfilled.draws, place, attempt) for place in places}
            if not places:
                return
        first = next(iter(unfilled.damaged.values()))
        raise InputError(f"{_ATTEMPTS} samples in a row are damaged, the first: {first}")

    def _stand_in(self, draws: Draws, place: int, attempt: int) -> int:
        return self.datasets[draws.dataset[place]].stand_in(self.seed, int(draws.draw[place]), attempt)

    def _chosen(self, unfilled: _Unfilled) -> dict[tuple[int, int], dict[int, tuple[int, ...]]]:
        """The views that each place takes, by dataset and sample.

        Before any of them is read: between two pictures the same takes several times as long, for it is no longer in the
        processor's cache.
        """
        chosen = {}
        for (dataset, sample), places in unfilled.visits().items():
            try:
                chosen[dataset, sample] = self._chosen_of(unfilled.draws, dataset, sample, places)
            except InputError as error:
                unfilled.damaged[dataset, sample] = str(error)
        return chosen

    def _chosen_of(self, draws: Draws, dataset: int, sample: int, places: list[int]) -> dict[int, tuple[int, ...]]:
        name, count = self.datasets[dataset].name, self.sources[dataset].view_count(sample)
        if count < self.choice.needed:
            raise InputError(
                f"{name}: sample {sample} has {count} views, {self.choice.needed} are needed", "render more"
            )
        return {
            place: self.choice.choose(count, generator(self.seed, f"{name} draw {draws.draw[place]}", "views"))
            for place in places
        }

    def _visits_apart(
        self, dataset: int, sample: int, chosen: Mapping[int, tuple[int, ...]]
    ) -> dict[int, tuple[ObjectViews, tuple[int, ...]]]:
        """Those of several draws of a damaged object whose own views are whole.

        Which draws meet in a visit depends on the ranks; what becomes of one must not depend on the views of the others.
        """
        read: dict[int, tuple[ObjectViews, tuple[int, ...]]] = {}
        for place, views in chosen.items() if len(chosen) > 1 else ():
            with suppress(InputError):
                read |= self._visit(dataset, sample, {place: views})
        return read

    def _visit(
        self, dataset: int, sample: int, chosen: Mapping[int, tuple[int, ...]]
    ) -> dict[int, tuple[ObjectViews, tuple[int, ...]]]:
        """The views that several draws take of one object, which is read once and of which no other view is decoded."""
        source = self.sources[dataset]
        union = list(dict.fromkeys(view for views in chosen.values() for view in views))
        decoded = source.views(sample, union)
        decoded = squared(decoded, self.size) if self.size else decoded
        return {place: (_picked(decoded, union, views), views) for place, views in chosen.items()}

    def _stacked(self, unfilled: _Unfilled) -> ViewBatch:
        draws = unfilled.draws
        objects, views = zip(*(unfilled.read[place] for place in range(len(draws))), strict=True)
        for dataset, views_of_one in zip(draws.dataset, objects, strict=True):
            if views_of_one.rgba.shape != objects[0].rgba.shape:
                sizes = [f"{o.rgba.shape[2]}×{o.rgba.shape[1]}" for o in (objects[0], views_of_one)]
                raise InputError(
                    f"{self.datasets[dataset].name}: {views_of_one.uid} has {sizes[1]} pixels, "
                    f"{objects[0].uid} of the same batch {sizes[0]}",
                    "name the size that all are to have",
                )
        return ViewBatch(
            draws.epoch,
            draws.batch,
            draws.dataset,
            tuple(one.uid for one in objects),
            np.array(views),
            *(_together([getattr(one, name) for one in objects]) for name in ("rgba", "c2w", "intrinsics")),
        )


def _together(arrays: list[np.ndarray]) -> Tensor:
    """Arrays as one; in a worker in the memory that the main process maps, where anything else would be copied to."""
    if get_worker_info() is None:
        return torch.from_numpy(np.stack(arrays))
    together: Tensor = default_collate([torch.from_numpy(array) for array in arrays])
    return together


def _picked(decoded: ObjectViews, union: list[int], views: tuple[int, ...]) -> ObjectViews:
    """Some of the decoded views; without a copy where they are all of them, as those of a lone draw are."""
    if list(views) == union:
        return decoded
    numbers = [union.index(view) for view in views]
    return ObjectViews(decoded.uid, decoded.rgba[numbers], decoded.c2w[numbers], decoded.intrinsics[numbers])
