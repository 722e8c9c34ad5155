"""What a training reads in all: steps, epochs, and how often it comes back to an object."""

from collections.abc import Mapping
from dataclasses import dataclass

from stage.secrets import shown
from training.data.plan import Plan
from training.data.view_sources import ViewSet
from training.parameters import TrainParameters
from training.shares import pairs_at_once


@dataclass(frozen=True)
class Batch:
    """How many pairs a step takes, and how they are shared out."""

    effective: int
    """Pairs of a step."""
    at_once: int
    """Pairs of one forward pass of one process."""
    accumulate: int
    processes: int
    """Those of all machines."""
    machines: int


@dataclass(frozen=True)
class DatasetReading:
    """What is read of one shard set."""

    name: str
    place: str
    objects: int
    views: int
    shards: int
    pairs_per_epoch: int
    pairs: int
    """Of the whole run."""
    passes: float
    """How often the run reads the set through."""


@dataclass(frozen=True)
class Reading:
    """What is read in all."""

    steps: int
    steps_per_epoch: int
    epochs: float
    pairs: int
    datasets: tuple[DatasetReading, ...]


def batch_of(parameters: TrainParameters) -> Batch:
    """How a step's pairs are shared out.

    Raises:
        ParameterError: when they cannot be.
    """
    launch = parameters.launch
    at_once = pairs_at_once(parameters)
    return Batch(parameters.batch_size, at_once, launch.accumulate, launch.processes, launch.machines)


def reading_of(parameters: TrainParameters, plan: Plan, readers: Mapping[str, ViewSet]) -> Reading:
    """What a training reads by its plan."""
    epochs = parameters.steps / plan.batches
    datasets = []
    for dataset, mixed, count in zip(parameters.data.datasets, plan.datasets, plan.counts, strict=True):
        reader = readers[dataset.name]
        place = shown(dataset.place) if "://" in dataset.place else dataset.place
        sizes = (len(reader), int(reader.counts.sum()), len(reader.shards))
        datasets.append(
            DatasetReading(
                dataset.name, place, *sizes, count, round(count * epochs), round(count * epochs / mixed.length, 4)
            )
        )
    pairs = parameters.steps * parameters.batch_size
    return Reading(parameters.steps, plan.batches, round(epochs, 4), pairs, tuple(datasets))
