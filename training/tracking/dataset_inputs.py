"""The shard sets of a training as a tracker notes them: one record for each set and split, by the hash of its index."""

from collections.abc import Mapping
from pathlib import Path

from stage.secrets import shown
from training.data.dataset_parameters import DataParameters
from training.data.datasets import place_of
from training.data.view_sources import ViewSet
from training.tracking.tracker import DatasetInput

_LONGEST = 500


def dataset_inputs(
    parameters: DataParameters,
    root: Path,
    hashes: Mapping[str, str],
    training: Mapping[str, ViewSet],
    validation: Mapping[str, ViewSet],
) -> list[DatasetInput]:
    """What a run reads.

    Args:
        parameters: the shard sets.
        root: of the workspace.
        hashes: of each set's index.
        training: the training objects of each set.
        validation: the objects of those sets that have some to validate with.
    """
    inputs = []
    for dataset in parameters.datasets:
        place = place_of(dataset, root)
        where = shown(place) if isinstance(place, str) else str(place.resolve())
        for context, readers in (("training", training), ("validation", validation)):
            if dataset.name in readers:
                facts = _facts(readers[dataset.name])
                inputs.append(
                    DatasetInput(f"{dataset.name}.{facts['split']}", where, hashes[dataset.name], context, facts)
                )
    return inputs


def _facts(reader: ViewSet) -> dict[str, str]:
    return {
        "split": reader.split,
        "objects": str(len(reader)),
        "views": str(int(reader.counts.sum())),
        "licences": ", ".join(reader.licences)[:_LONGEST] or "not stated",
    }
