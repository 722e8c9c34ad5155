"""The plan of reading: which sample of which dataset stands at which place of which global batch.

The sequence of global batches follows from the datasets, the seed and the global batch size alone. Ranks and workers only part
it among themselves (a rank takes a run of slots of every batch, a worker whole batches of its rank), so 1×8, 2×4 and 8×1 of
them train on the same batches, and a run continues on other hardware where it stopped.

What is exact:

- an epoch holds `probability` × draws of each dataset, less than one away (largest remainder);
- each rank of an epoch holds an even share of them, less than two away, whatever divides the batch;
- every rank has the same number of batches; what does not fill the last one is dropped or filled up, a named choice, and either
  way the next epoch goes on with the draw after the last;
- a dataset is read through in one seeded order after another across epochs, so its samples' counts never differ by more than one
  visit.

    plan = Plan((Mixed("co3d", 18432, 0.34, draws=2), Mixed("re10k", 65280, 0.66, draws=5)), batch_size=192, seed=0)
    plan.epoch(3).batch(17).share(rank=1, ranks=8)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from stage.errors import ParameterError
from stage.seeds import generator
from training.data.mixture import Mixed
from training.data.orders import Order, full_order, window_order
from training.data.quotas import largest_remainder, spread_evenly

Remainder = Literal["drop", "wrap"]


def slots_of_rank(batch_size: int, rank: int, ranks: int) -> slice:
    """The slots of every global batch that one of several ranks takes.

    Raises:
        ParameterError: when the ranks cannot have equally many.
    """
    if not 0 <= rank < ranks or batch_size % ranks:
        raise ParameterError(
            f"rank {rank} of {ranks} with a global batch of {batch_size}",
            "make the global batch size a multiple of the number of ranks",
        )
    size = batch_size // ranks
    return slice(rank * size, (rank + 1) * size)


@dataclass(frozen=True)
class Draws:
    """Draws at consecutive places of a global batch."""

    epoch: int
    batch: int
    dataset: Int[np.ndarray, " b"]
    """Number of the dataset in the plan."""
    sample: Int[np.ndarray, " b"]
    """Number of the sample in its dataset."""
    draw: Int[np.ndarray, " b"]
    """How many draws of this dataset came before, since the first epoch: the subject from which views are seeded."""

    def __len__(self) -> int:
        return len(self.dataset)

    def share(self, rank: int, ranks: int) -> "Draws":
        """What one of several ranks takes.

        Raises:
            ParameterError: when the ranks cannot have equally many.
        """
        mine = slots_of_rank(len(self), rank, ranks)
        return Draws(self.epoch, self.batch, self.dataset[mine], self.sample[mine], self.draw[mine])


@dataclass(frozen=True)
class Plan:
    """The endless sequence of global batches, epoch by epoch.

    Raises:
        ParameterError: when probabilities do not sum to 1, names repeat, or an epoch has no batch.
    """

    datasets: tuple[Mixed, ...]
    batch_size: int
    """Draws of a global batch: those of all ranks together."""
    seed: int
    draws: int | None = None
    """Draws of an epoch, all datasets together; None: as many as read all datasets once through."""
    remainder: Remainder = "drop"
    """What becomes of draws that do not fill a last batch: `drop` leaves them to the next epoch, `wrap` takes from it what is
    missing."""
    order: Order = "full"
    window: int = 4096
    """How far the order `window` shifts samples, in samples."""

    def __post_init__(self) -> None:
        total = sum(dataset.probability for dataset in self.datasets)
        if abs(total - 1) > 1e-6:
            raise ParameterError(f"the probabilities of the datasets sum to {total:g}", "make them sum to 1")
        if len({dataset.name for dataset in self.datasets}) < len(self.datasets):
            raise ParameterError("two datasets of the mixture have the same name", "give each its own")
        if self.batch_size < 1 or self.window < 1:
            raise ParameterError(f"a batch of {self.batch_size}, a window of {self.window}", "make both at least 1")
        if self.batches < 1:
            raise ParameterError(
                f"an epoch of {self._wanted} draws has no batch of {self.batch_size}",
                "make the batch smaller or the epoch longer, or choose the remainder wrap",
            )
        if self.order == "window" and (without := [dataset.name for dataset in self.datasets if not dataset.shards]):
            raise ParameterError(
                f"dataset {without[0]} names no shards to shuffle", "give them, or choose the order full"
            )

    @property
    def _wanted(self) -> int:
        return sum(dataset.length for dataset in self.datasets) if self.draws is None else self.draws

    @property
    def batches(self) -> int:
        """Global batches of an epoch, and of each rank."""
        return self._wanted // self.batch_size if self.remainder == "drop" else -(-self._wanted // self.batch_size)

    @cached_property
    def counts(self) -> list[int]:
        """Draws of each dataset in an epoch."""
        # Through its decimal text: a third share written as 0.33 is 33/100 and not the double next to it.
        shares = [Fraction(str(dataset.probability)) for dataset in self.datasets]
        return largest_remainder([share / sum(shares) for share in shares], self.batches * self.batch_size)

    def epoch(self, number: int) -> "EpochPlan":
        """One epoch of the sequence."""
        return EpochPlan(
            self, number, self._mixture(number), [self._stream(d, number) for d in range(len(self.counts))]
        )

    def batches_from(self, epoch: int, batch: int) -> Iterator["Draws"]:
        """The global batches from a place on, without an end."""
        while True:
            planned = self.epoch(epoch)
            yield from map(planned.batch, range(batch, len(planned)))
            epoch, batch = epoch + 1, 0

    def _mixture(self, epoch: int) -> Int[np.ndarray, "n b"]:
        """Which dataset is drawn from at each place: every slot a shuffled column that holds its quota."""
        chance = generator(self.seed, f"epoch {epoch}", "mixture")
        # Turned by chance, so that the slot with one more than its neighbour is another one in each epoch.
        quotas = np.roll(spread_evenly(self.counts, self.batch_size), chance.integers(self.batch_size), axis=0)
        numbers = np.tile(np.arange(len(self.counts), dtype=np.uint16), self.batch_size)
        columns = np.repeat(numbers, quotas.ravel()).reshape(self.batch_size, self.batches)
        return np.ascontiguousarray(chance.permuted(columns, axis=1).T)

    def _stream(self, dataset: int, epoch: int) -> Int[np.ndarray, " c"]:
        """The samples that an epoch draws of a dataset, in order: its part of one pass after another."""
        mixed, count = self.datasets[dataset], self.counts[dataset]
        start, stop = epoch * count, (epoch + 1) * count
        first, last = start // mixed.length, -(-stop // mixed.length)
        passes = [self._pass(mixed, number) for number in range(first, last)]
        if not passes:
            return np.zeros(0, dtype=np.int32)
        return np.concatenate(passes)[start - first * mixed.length : stop - first * mixed.length]

    def _pass(self, mixed: Mixed, number: int) -> Int[np.ndarray, " l"]:
        """A dataset once through."""
        chance = generator(self.seed, f"{mixed.name} pass {number}", "order")
        full = self.order == "full"
        order = full_order(mixed.samples, chance) if full else window_order(mixed.shards, self.window, chance)
        return np.repeat(order, mixed.draws if np.ndim(mixed.draws) == 0 else np.asarray(mixed.draws)[order])

    def described(self) -> dict[str, Any]:
        """What two plans must share for their sequences to be the same, as JSON values."""
        parts = {"seed": self.seed, "batch_size": self.batch_size, "batches": self.batches}
        order = {"order": self.order, "window": self.window if self.order == "window" else 0}
        return {**parts, **order, "datasets": [dataset.described() for dataset in self.datasets]}


class EpochPlan:
    """One epoch: any of its batches in any order.

    Args:
        plan: what it is an epoch of.
        number: which one, from 0.
        mixture: the dataset at each place.
        streams: the samples drawn of each dataset, in order.
    """

    def __init__(
        self, plan: Plan, number: int, mixture: Int[np.ndarray, "n b"], streams: list[Int[np.ndarray, " c"]]
    ) -> None:
        self.plan, self.number = plan, number
        self._mixture, self._streams = mixture, streams
        counts = [(mixture == dataset).sum(axis=1) for dataset in range(len(streams))]
        self._before = [np.cumsum(count) - count for count in counts]

    def __len__(self) -> int:
        return len(self._mixture)

    def batch(self, number: int) -> Draws:
        """The global batch at one place of the epoch.

        Raises:
            IndexError: past the last one.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"batch {number} of an epoch of {len(self)}")
        dataset = self._mixture[number].astype(np.int64)
        sample, draw = np.empty_like(dataset), np.empty_like(dataset)
        for index in np.unique(dataset):
            here = dataset == index
            places = self._before[index][number] + np.arange(here.sum())
            sample[here] = self._streams[index][places]
            draw[here] = self.number * self.plan.counts[index] + places
        return Draws(self.number, number, dataset, sample, draw)
