"""What decides the trained weights: parameters, seed, data and code, and their hash."""

import sys
from pathlib import Path
from typing import Any

from stage.code import source_fingerprint
from stage.files import json_sha256
from systems.zero123.training import Zero123Training
from training.data.plan import Plan
from training.parameters import TrainParameters

_SYSTEM_CODE = Path(sys.modules[Zero123Training.__module__].__file__ or "").parent
TRAINING_CODE = (
    *sorted(f"systems.zero123.{path.stem}" for path in _SYSTEM_CODE.glob("[a-z]*.py")),
    "training.data.batches",
    "training.data.datasets",
    "training.data.mixture",
    "training.data.orders",
    "training.data.plan",
    "training.data.quotas",
    "training.data.squares",
    "systems.trainable",
    "training.assembly",
    "training.average",
    "training.engine",
    "training.guard",
    "training.processes",
    "training.hardware",
    "training.optimizer",
    "training.schedule",
)
# Of the data their plan and their hashes count: the same shards may lie elsewhere, and be read by more workers.
_INDIFFERENT: dict[str, Any] = {
    **dict.fromkeys(("checkpoint_every", "checkpoints_kept", "log_every", "data", "samples", "tracking"), True),
    "launch": {"machine_rank", "main_address", "main_port", "grace_seconds"},
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
        "parameters": parameters.model_dump(mode="json", exclude=_INDIFFERENT),
        "seed": seed,
        "data": {**plan.described(), "size": parameters.data.size},
        "shards_sha256": shards,
        "code_sha256": source_fingerprint(TRAINING_CODE),
    }
    return {**origin, "fingerprint": json_sha256(origin)}
