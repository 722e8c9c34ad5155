"""Batches of views: what a loader's worker makes of a plan's draws.

A batch follows from its draws alone: which views each takes is seeded by (seed, dataset, draw), and so is the sample that
stands in for a damaged one. Workers keep no state.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from stage.errors import InputError, ParameterError, ViewforgeError
from stage.seeds import quick_generator
from systems.trainable import SplatterImages, Views
from training.data.batch_places import BatchPlaces
from training.data.mixture import Mixed
from training.data.plan import Draws
from training.data.squares import MiddleSquare
from training.data.view_sources import ViewSource
from training.data.views import ReadViews

# Damaged samples in a row before a batch gives up; by then the share of them is past any limit.
_ATTEMPTS = 16
# Objects that are read before the first of them is decoded: bounds what a batch holds encoded.
_READ_AHEAD = 16
_SPLATTER_PARTS = ("channels", "c2w", "intrinsics")


@dataclass(frozen=True)
class ViewChoice:
    """Which views a draw takes: some by their number, then others by chance, then some by their number again, all distinct.

    A pair of Zero-1-to-3 is `ViewChoice(drawn=2)`, the condition last. Zero-1-to-G's six views, N more for supervision and its
    condition is `ViewChoice(fixed=(1, 2, 3, 4, 5, 6), drawn=N, last=(0,))`.

    Raises:
        ParameterError: when no view is chosen, or one twice.
    """

    fixed: tuple[int, ...] = ()
    drawn: int = 2
    last: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        named = self.named
        if self.drawn < 0 or len(self) < 1 or len(set(named)) < len(named) or min(named, default=0) < 0:
            raise ParameterError(f"views {named} and {self.drawn} others", "choose at least one, and none twice")

    def __len__(self) -> int:
        return len(self.named) + self.drawn

    @property
    def named(self) -> tuple[int, ...]:
        """Those that are chosen by their number."""
        return (*self.fixed, *self.last)

    def described(self) -> list[object]:
        """As JSON values."""
        return [list(self.fixed), self.drawn, *([list(self.last)] if self.last else [])]

    @property
    def needed(self) -> int:
        """How many views an object must have."""
        return max(len(self), max(self.named, default=0) + 1)

    def choose(self, count: int, chance: Random) -> tuple[int, ...]:
        """The views of one draw from an object that has `count` of them."""
        others = [view for view in range(count) if view not in self.named]
        return (*self.fixed, *chance.sample(others, self.drawn), *self.last)


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
    scales: Float[Tensor, "b v 3"]
    """As `systems.trainable.Views` has them."""
    splatters: SplatterImages | None = None
    """Of the objects, where the sources give them."""

    def part(self, rows: slice, device: torch.device) -> Views:
        """Some of the samples as systems see them, their pictures on a device."""
        rgba = self.rgba[rows].to(device)
        cameras = self.c2w[rows], self.intrinsics[rows], self.scales[rows]
        splatters = self._splatters(rows, device)
        return Views(self.uids[rows], self.views[rows], rgba, *cameras, splatters, self.epoch)

    def _splatters(self, rows: slice, device: torch.device) -> SplatterImages | None:
        if self.splatters is None:
            return None
        channels, c2w, intrinsics = (getattr(self.splatters, name)[rows] for name in _SPLATTER_PARTS)
        return SplatterImages(channels.to(device), c2w, intrinsics)

    def pin_memory(self) -> "ViewBatch":
        """The same in memory that a GPU copies from while it computes; PyTorch's loader asks for it."""
        tensors = {name: getattr(self, name).pin_memory() for name in ("rgba", "c2w", "intrinsics", "scales")}
        splatters = self.splatters
        if splatters is not None:
            splatters = SplatterImages(*(getattr(splatters, name).pin_memory() for name in _SPLATTER_PARTS))
        return replace(self, **tensors, splatters=splatters)


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


_Damaged = dict[tuple[int, int], str]
"""What is wrong with a sample, by dataset and sample."""


@dataclass(frozen=True)
class _Visit:
    """An object that is read once for all draws of it."""

    dataset: int
    sample: int
    chosen: Mapping[int, tuple[int, ...]]
    """Numbers of the views that each place of the batch takes."""

    def apart(self) -> list["_Visit"]:
        """The same for each draw alone."""
        return [replace(self, chosen={place: views}) for place, views in self.chosen.items()]


@dataclass
class _Read:
    """A visit whose views are read."""

    visit: _Visit
    views: ReadViews
    targets: list[list[tuple[int, int]]]
    """Where each of these views goes: places of the batch, and which view of each it is."""
    square: MiddleSquare | None = None
    """Of their pictures, once one is decoded, where it is this that is wanted."""


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
        places, damaged = BatchPlaces(len(draws), len(self.choice), self.size), dict[tuple[int, int], str]()
        result: ViewBatch | ViewforgeError
        try:
            self._fill(draws, places, damaged)
            result = self._finished(draws, places)
        except ViewforgeError as error:
            result = error
        named = [Damage(self.datasets[dataset].name, sample, text) for (dataset, sample), text in damaged.items()]
        return MadeBatch(draws, result, tuple(named))

    def _fill(self, draws: Draws, places: BatchPlaces, damaged: _Damaged) -> None:
        samples = dict(enumerate(draws.sample.tolist()))
        for attempt in range(_ATTEMPTS):
            visits = self._visits(draws, samples, damaged)
            for start in range(0, len(visits), _READ_AHEAD):
                self._make(visits[start : start + _READ_AHEAD], places, damaged)
            samples = {place: self._stand_in(draws, place, attempt) for place in places.empty}
            if not samples:
                return
        first = next(iter(damaged.values()))
        raise InputError(f"{_ATTEMPTS} samples in a row are damaged, the first: {first}")

    def _stand_in(self, draws: Draws, place: int, attempt: int) -> int:
        return self.datasets[draws.dataset[place]].stand_in(self.seed, int(draws.draw[place]), attempt)

    def _visits(self, draws: Draws, samples: Mapping[int, int], damaged: _Damaged) -> list[_Visit]:
        """Which objects are read, and the views that each place takes of them."""
        visits: dict[tuple[int, int], list[int]] = {}
        datasets = draws.dataset.tolist()
        for place, sample in samples.items():
            visits.setdefault((datasets[place], sample), []).append(place)
        chosen = []
        for (dataset, sample), places in visits.items():
            try:
                chosen.append(_Visit(dataset, sample, self._chosen(draws, dataset, sample, places)))
            except InputError as error:
                damaged[dataset, sample] = str(error)
        return chosen

    def _chosen(self, draws: Draws, dataset: int, sample: int, places: list[int]) -> dict[int, tuple[int, ...]]:
        name, count = self.datasets[dataset].name, self.sources[dataset].view_count(sample)
        if count < self.choice.needed:
            raise InputError(
                f"{name}: sample {sample} has {count} views, {self.choice.needed} are needed", "render more"
            )
        return {
            place: self.choice.choose(
                count, quick_generator(self.seed, f"{name} draw {draws.draw.item(place)}", "views")
            )
            for place in places
        }

    def _make(self, visits: Sequence[_Visit], places: BatchPlaces, damaged: _Damaged) -> None:
        """Read all of these objects, decode all, then note all: in turn it takes longer (`ReadViews`)."""
        read, decoded = [], []
        for visit in visits:
            try:
                read.append(self._read(visit))
            except InputError as error:
                self._make_apart(visit, str(error), places, damaged)
        for one in read:
            try:
                self._decode(one, places)
            except InputError as error:
                self._make_apart(one.visit, str(error), places, damaged)
            else:
                decoded.append(one)
        for one in decoded:
            self._note(one, places)

    def _make_apart(self, visit: _Visit, message: str, places: BatchPlaces, damaged: _Damaged) -> None:
        """Note an object that is damaged, and make those of several draws of it whose own views are whole.

        Which draws meet in a visit depends on the ranks; what becomes of one must not depend on the views of the others.
        """
        damaged[visit.dataset, visit.sample] = message
        for alone in visit.apart() if len(visit.chosen) > 1 else ():
            with suppress(InputError):
                one = self._read(alone)
                self._decode(one, places)
                self._note(one, places)

    def _read(self, visit: _Visit) -> _Read:
        union = list(dict.fromkeys(view for views in visit.chosen.values() for view in views))
        targets = [
            [(place, views.index(view)) for place, views in visit.chosen.items() if view in views] for view in union
        ]
        return _Read(visit, self.sources[visit.dataset].read_views(visit.sample, union), targets)

    def _decode(self, read: _Read, places: BatchPlaces) -> None:
        """Decode each view that the draws of a visit take, straight into its place where that can be."""
        rooms = [places.room(*targets[0]) for targets in read.targets]
        for picture, targets in zip(read.views.pictures(rooms), read.targets, strict=True):
            fitting = picture
            if self.size:
                read.square = read.square or MiddleSquare.of(read.views.uid, picture, self.size)
                fitting = read.square.picture(picture)
            for place, number in targets:
                places.lay(place, number, fitting)
        places.keep_size()

    def _note(self, read: _Read, places: BatchPlaces) -> None:
        views, square = read.views, read.square
        intrinsics = square.intrinsics(views.intrinsics) if square else views.intrinsics
        for view, targets in enumerate(read.targets):
            for place, number in targets:
                places.note(place, number, views.c2w[view], intrinsics[view])
                if views.scales is not None:
                    places.note_scales(place, number, views.scales[view])
        for place, chosen in read.visit.chosen.items():
            if views.splatter is not None:
                places.note_splatter(place, views.splatter)
            places.finish(place, views.uid, chosen)

    def _finished(self, draws: Draws, places: BatchPlaces) -> ViewBatch:
        if odd := places.odd():
            place, said = odd
            name = self.datasets[draws.dataset[place]].name
            raise InputError(f"{name}: {said}", "name the size that all are to have")
        return ViewBatch(
            draws.epoch,
            draws.batch,
            draws.dataset,
            places.uids,
            places.views,
            places.rgba,
            places.c2w,
            places.intrinsics,
            places.scales,
            places.splatters(),
        )
