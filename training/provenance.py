"""What decides the trained weights: parameters, seed, data and code, and their hash."""

from pathlib import Path
from typing import Any, get_args

import systems
from stage.code import source_fingerprint
from stage.files import json_sha256
from training.data.plan import Plan
from training.parameters import SystemName, TrainParameters

_SYSTEMS = Path(systems.__file__ or "").parent
# The room whose modules all of them have.
_SHARED = "zero123"
# Of the others, where it is not the room of the system's name alone.
_ROOMS = {"zero_1_to_g_grid": ("zero_1_to_g", "zero_1_to_g.grid")}
# Of those that learn from Gaussians or from their renderings; a stage without the ones has the others.
_OF_GAUSSIANS = ("zero_1_to_g", "zero_1_to_g_grid")
_GAUSSIAN_CODE = (
    "geometry.attribute_images",
    "geometry.attribute_tensors",
    "geometry.compositing",
    "geometry.gaussian_tensors",
    "geometry.gaussians",
    "geometry.perceptual",
    "geometry.picture_losses",
    "geometry.projection",
    "geometry.rasterizer",
    "geometry.rasterizer_cpu",
    "geometry.rasterizer_gsplat",
    "geometry.spherical_harmonics",
    "geometry.splatter_tensor",
    "geometry.tiles",
    "geometry.view_features",
)
_TRAINING_CODE = (
    "geometry.cameras",
    "training.data.batches",
    "training.data.datasets",
    "training.data.mixture",
    "training.data.orders",
    "training.data.plan",
    "training.data.quotas",
    "training.data.squares",
    "systems.array_cache",
    "systems.trainable",
    "training.assembly",
    "training.average",
    "training.engine",
    "training.guard",
    "training.look_ahead",
    "training.processes",
    "training.hardware",
    "training.optimizer",
    "training.schedule",
)
# Of the data their plan and their hashes count: the same shards may lie elsewhere, and be read by more workers.
_INDIFFERENT: dict[str, Any] = {
    **dict.fromkeys(("checkpoint_every", "checkpoints_kept", "log_every", "data", "samples", "tracking"), True),
    "launch": {
        *(
            "machine_rank",
            "main_address",
            "main_port",
            "grace_seconds",
            "silence_seconds",
            "stuck_seconds",
            "restarts",
        ),
        "slurm",
    },
    "cascade_zero123": {"prompts": {"look_ahead", "cache_bytes"}},
}


def provenance(parameters: TrainParameters, seed: int, plan: Plan, shards: dict[str, str]) -> dict[str, Any]:
    """What decides the trained weights; `fingerprint` is its hash.

    Args:
        parameters: the run.
        seed: the run's.
        plan: of reading.
        shards: hash of the index of each shard set by the set's name.
    """
    origin = {
        "parameters": parameters.model_dump(mode="json", exclude=_INDIFFERENT | _other_systems(parameters)),
        "seed": seed,
        "data": {**plan.described(), "size": parameters.data.size},
        "shards_sha256": shards,
        "code_sha256": source_fingerprint([*_TRAINING_CODE, *_system_code(parameters)]),
    }
    return {**origin, "fingerprint": json_sha256(origin)}


def _other_systems(parameters: TrainParameters) -> dict[str, Any]:
    return dict.fromkeys(set(get_args(SystemName)) - {parameters.system}, True)


def _system_code(parameters: TrainParameters) -> list[str]:
    rooms = {_SHARED, *_ROOMS.get(parameters.system, (parameters.system,))}
    code = [
        f"systems.{room}.{path.stem}"
        for room in rooms
        for path in (_SYSTEMS / room.replace(".", "/")).glob("[a-z]*.py")
    ]
    return [*code, *(_GAUSSIAN_CODE if parameters.system in _OF_GAUSSIANS else ())]
