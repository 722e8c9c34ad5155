"""What the main process of a training tells its trackers at the start, and the pictures that it will sample for them."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stage.files import write_json
from stage.workspace import Workspace
from systems.trainable import TrainableSystem
from training.assembly import view_choice
from training.data.datasets import picture_size, validation_datasets
from training.data.view_sources import ViewSet
from training.parameters import TrainParameters
from training.sample_grid import SampleGrid
from training.sample_pairs import sample_pairs
from training.tracking.dataset_inputs import dataset_inputs
from training.tracking.run_origin import origin_tags
from training.tracking.tracker import Tracker, flattened


@dataclass(frozen=True)
class Introduction:
    """A training as its trackers see it.

    Args:
        parameters: the run.
        seed: the run's.
        workspace: where it runs.
        readers: of the training data by the set's name.
        origin: see `training.provenance`.
        folder: what outlives the training's working folder: journals and pictures.
    """

    parameters: TrainParameters
    seed: int
    workspace: Workspace
    readers: dict[str, ViewSet]
    origin: dict[str, Any]
    folder: Path

    def tell(self, tracker: Tracker, hardware: dict[str, object]) -> None:
        """Say what is run, on what, with which settings in force, and of what it was made."""
        parameters = flattened(self.parameters.model_dump(mode="json"), "train.")
        tracker.parameters({"seed": self.seed, **parameters, **flattened(hardware, "hardware.")})
        for key, value in origin_tags(self.workspace, self.origin).items():
            tracker.tag(key, value)
        data, root = self.parameters.data, self.workspace.root
        unseen = validation_datasets(data, root, self.parameters.scale, splatters=self.parameters.splatters)
        tracker.inputs(dataset_inputs(data, root, self.origin["shards_sha256"], self.readers, unseen))
        path = self.folder / "provenance.json"
        write_json(path, self.origin)
        tracker.artifact(path)

    def samples(self, system: TrainableSystem) -> SampleGrid | None:
        """What samples pictures on the way; nothing where that is not wanted, or cannot be."""
        parameters = self.parameters
        if parameters.samples.every is None:
            return None
        if parameters.launch.sharding != "none":
            print("train: no pictures are sampled while weights are split among processes", file=sys.stderr)
            return None
        size = picture_size(parameters.data, self.readers)
        count = parameters.samples.pairs
        pairs = sample_pairs(
            parameters.data,
            self.workspace.root,
            self.readers,
            self.seed,
            count,
            size,
            parameters.scale,
            view_choice(parameters, targets=1),
            splatters=parameters.splatters,
        )
        return SampleGrid(parameters, self.seed, system, pairs, self.folder / "samples") if pairs else None
