"""The loader: a rank's batches in the order of the plan, made by worker processes, from any place of the sequence.

The main process plans; workers turn draws into batches and know nothing of the place. So what has been read is one number, and
the sequence goes on after a kill from `state_dict()`, with as many workers as one likes, and with other ranks of the same
global batch.

    loader = PlannedLoader(plan, {"objects": ShardReader(folder, "train")}, ViewChoice(drawn=2), workers=4)
    for step, batch in zip(range(steps), loader):  # endless; `for batch in loader.epoch()` ends with the epoch
        ...
        checkpoint["loader"] = loader.state_dict()  # after this batch
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader

from stage.errors import InputError, StageKilledError, ViewforgeError
from stage.lifeline import die_with
from training.data.batches import (
    BatchMaker,
    Damage,
    MadeBatch,
    ViewBatch,
    ViewChoice,
)
from training.data.damage import DamageRecord
from training.data.plan import Draws, Plan, slots_of_rank
from training.data.prefetch import Prefetch, needed_shards, reads_through_cache
from training.data.view_sources import Objects, ViewSource, as_view_source


class PlannedLoader:
    """One rank's part of a plan's global batches.

    Iterating gives the batches from the present place on, without an end; one iteration at a time.

    Args:
        plan: which samples stand in which batch.
        sources: the objects of each dataset by its name, as many as the plan says. Each worker process gets a copy.
        choice: which views a draw takes.
        rank: this process' number.
        ranks: number of processes that share the global batches.
        workers: processes that read and decode; 0 does it in this one.
        prefetch: batches that each worker is ahead.
        max_failure_rate: share of all samples that this rank may find damaged before the run fails.
        start_method: how workers start, "fork" or "spawn"; None is the platform's way. Sources that hold threads want "spawn".
        size: width and height in pixels to which the middle square of every picture is made smaller; None leaves pictures as they
            are stored, and then they must agree.
        fetchers: threads of this process that bring the shards which come next into the sources' caches; 0 leaves that to the
            workers.
        pin_memory: have batches in pinned memory where there is a CUDA device.

    Raises:
        InputError: when the sources are not those of the plan.
        ParameterError: when the ranks cannot have equally many of a batch.
    """

    def __init__(
        self,
        plan: Plan,
        sources: Mapping[str, Objects | ViewSource],
        choice: ViewChoice,
        *,
        rank: int = 0,
        ranks: int = 1,
        workers: int = 0,
        prefetch: int = 2,
        max_failure_rate: float = 0.01,
        start_method: str | None = None,
        size: int | None = None,
        fetchers: int = 4,
        pin_memory: bool = False,
    ) -> None:
        _check_sources(plan, sources)
        slots_of_rank(plan.batch_size, rank, ranks)
        self.plan, self.choice, self.rank, self.ranks = plan, choice, rank, ranks
        self.workers, self.prefetch, self.start_method = workers, prefetch, start_method
        self.fetchers, self.pin_memory = fetchers, pin_memory
        views = {name: as_view_source(source) for name, source in sources.items()}
        self._maker = BatchMaker(plan.datasets, views, choice, plan.seed, size)
        self._damage = DamageRecord(sum(dataset.samples for dataset in plan.datasets), max_failure_rate)
        self._place = (0, 0)

    @property
    def place(self) -> tuple[int, int]:
        """Epoch, and place in it, of the batch that comes next."""
        return self._place

    @property
    def damaged(self) -> list[Damage]:
        """The samples that could not be read so far, each once; another one stood in for every draw of them."""
        return self._damage.found

    def __iter__(self) -> Iterator[ViewBatch]:
        """The batches from the present place on, without an end.

        Raises:
            StageFailedError: when more than `max_failure_rate` of the samples are damaged.
            StageKilledError: when a worker was killed; `place` still is the one after the last batch.
            InputError: when pictures of one batch differ in size.
        """
        return self._batches(endless=True)

    def epoch(self) -> Iterator[ViewBatch]:
        """What is left of the present epoch; raises as iterating does."""
        return self._batches(endless=False)

    def state_dict(self) -> dict[str, Any]:
        """The place after the batch that came last, as JSON values: batches that workers have ready do not count."""
        epoch, batch = self._place
        damaged = [[damage.dataset, damage.sample, damage.message] for damage in self.damaged]
        described = {**self.plan.described(), "views": self.choice.described()}
        return {"epoch": epoch, "batch": batch, "damaged": damaged, "plan": described}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on at a saved place, whatever the number of workers and ranks was.

        Raises:
            InputError: naming what differs, when it is a place in another sequence.
        """
        here = self.state_dict()["plan"]
        for key, value in here.items():
            if (saved := state["plan"].get(key)) != value:
                raise InputError(
                    f"the saved place is one of another sequence: {key} was {saved}, is {value}",
                    "continue with what it was, or start the run afresh",
                )
        self._damage.add(Damage(*entry) for entry in state["damaged"])
        self._place = (state["epoch"], state["batch"])

    def count_damage(self, damaged: Iterable[Damage]) -> None:
        """Count what other ranks found damaged: the limit is one for all of them.

        Raises:
            StageFailedError: when more than `max_failure_rate` of the samples are damaged.
        """
        self._damage.count(damaged)

    def _batches(self, *, endless: bool) -> Iterator[ViewBatch]:
        start = self._place
        made_batches = iter(self._data_loader(endless=endless))
        # Only now: the workers have been forked, and threads do not survive that.
        with self._prefetching(start) as prefetch:
            for number, made in enumerate(_unless_killed(made_batches), start=1):
                self._damage.add(made.damaged)
                if isinstance(made.result, ViewforgeError):
                    raise made.result
                ahead = made.draws.batch + 1
                self._place = (made.draws.epoch, ahead) if ahead < self.plan.batches else (made.draws.epoch + 1, 0)
                prefetch.at(number)
                yield made.result

    def _prefetching(self, start: tuple[int, int]) -> Prefetch:
        """Brings the shards of all ranks' batches: those of one machine share its cache, and mostly need the same."""
        cached = any(map(reads_through_cache, self._maker.sources))
        needs = needed_shards(self.plan.batches_from(*start), self._maker.sources)
        return Prefetch(needs, self.plan.batches, self.fetchers if cached else 0)

    def _data_loader(self, *, endless: bool) -> "DataLoader[MadeBatch]":
        return DataLoader(
            self._maker,
            batch_size=None,
            sampler=_Ahead(self, endless=endless),
            num_workers=self.workers,
            pin_memory=self.pin_memory and torch.cuda.is_available(),
            prefetch_factor=self.prefetch if self.workers else None,
            collate_fn=_unchanged,
            worker_init_fn=partial(_tied, os.getpid()),
            multiprocessing_context=self.start_method if self.workers else None,
            # The loader draws a seed for workers, which have no use for it; not from the generator that training draws from.
            generator=torch.Generator(),
        )


class _Ahead:
    """The draws from a loader's present place on: what PyTorch calls a sampler."""

    def __init__(self, loader: PlannedLoader, *, endless: bool) -> None:
        self._loader, self._endless = loader, endless

    def __iter__(self) -> Iterator[Draws]:
        loader = self._loader
        _, batch = loader.place
        left = None if self._endless else loader.plan.batches - batch
        for draws in islice(loader.plan.batches_from(*loader.place), left):
            yield draws.share(loader.rank, loader.ranks)


def _unless_killed(batches: Iterator[MadeBatch]) -> Iterator[MadeBatch]:
    """The same batches; a worker that was killed is said as the project says it."""
    while True:
        try:
            made = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            # What a worker raised itself starts with "Caught".
            if not str(error).startswith("DataLoader worker"):
                raise
            reason = str(error).partition(".")[0]
            raise StageKilledError(
                reason, "start again from the last checkpoint; give more memory if it ran out"
            ) from None
        yield made


def _tied(parent: int, _: int) -> None:
    """A worker that waits for a server looks after its parent when the answer has come; Linux sooner."""
    die_with(parent)


def _unchanged(made: Any) -> Any:  # noqa: ANN401 - PyTorch types it for lists of samples
    return made


def _check_sources(plan: Plan, sources: Mapping[str, Objects | ViewSource]) -> None:
    for dataset in plan.datasets:
        if dataset.name not in sources:
            raise InputError(
                f"the dataset {dataset.name} of the plan has no source", f"there are {', '.join(sources) or 'none'}"
            )
        if (found := len(sources[dataset.name])) != dataset.samples:
            raise InputError(
                f"the dataset {dataset.name} has {found} samples, the plan says {dataset.samples}",
                "make the plan of the data that are read",
            )
