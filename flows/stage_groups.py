"""Which stages belong together, and what they need of a machine, as the stage graph has it: there is no second list of stages."""

from pathlib import Path

import yaml

from flows.graph import dependents, stage_order
from stage.errors import InputError

INGEST, TRAIN, EVALUATE = "ingest", "train", "evaluate"
"""What leads to the training data, the training, what needs its model."""
GPU, BLENDER = "gpu", "blender"
"""Tags of stages, and names of the limits whose slots they hold."""
_BLENDER_ROOM = "${code}/blender_render"


def stage_groups(root: Path) -> dict[str, list[str]]:
    """The stages of a workspace by group, each group in the order in which they run.

    Raises:
        InputError: when the folder is no DVC repository, or has no training.
    """
    order, downstream = stage_order(root), dependents(root)
    if TRAIN not in downstream:
        raise InputError(f"{root / 'dvc.yaml'} has no stage {TRAIN}", "name the training so: the flows go by it")
    after = downstream[TRAIN]
    return {
        INGEST: [stage for stage in order if stage != TRAIN and stage not in after],
        TRAIN: [TRAIN],
        EVALUATE: [stage for stage in order if stage in after],
    }


def stage_needs(root: Path) -> dict[str, list[str]]:
    """What each stage of a workspace needs: a GPU where it trains or uses the model, Blender where it depends on that room."""
    defined = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    groups = stage_groups(root)
    on_gpu = {*groups[TRAIN], *groups[EVALUATE]}
    return {
        stage: [
            need
            for need, needed in ((GPU, stage in on_gpu), (BLENDER, _BLENDER_ROOM in definition.get("deps", ())))
            if needed
        ]
        for stage, definition in defined.items()
    }
