"""What the logged model of a version is linked with: the step it was trained to, the data it learnt and was scored on.

A figure carries the data that it is about, so that models are found by it:

    client.search_logged_models([experiment], "metrics.`evaluation.unseen.model.psnr` > 18",
                                datasets=[{"dataset_name": "evaluation.heldout", "dataset_digest": digest}])
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from registry.evaluated import finite_figures
from registry.lineage import MODEL_TAG, read_provenance
from stage.workspace import Workspace

# MLflow's own limit; the whole hash is in a tag.
_LONGEST_DIGEST = 36
_METRICS_AT_ONCE = 1000
AGAIN = "reevaluation."


def training_step(workspace: Workspace) -> int:
    """The step that the workspace's weights were trained to; 0 where training left no record."""
    return int(_summary(workspace).get("steps", 0))


def link_training(client: MlflowClient, run_id: str, model_id: str, workspace: Workspace) -> None:
    """Link a logged model with its shard sets, by the digests that the training run's own inputs have, and its last figures.

    Args:
        client: MLflow's.
        run_id: of the training.
        model_id: of the logged model.
        workspace: which trained it.
    """
    sets = read_provenance(workspace).get("shards_sha256") or {}
    tags = {f"data.shards_sha256.{name}": str(digest) for name, digest in sets.items()}
    tags |= {"checkpoint.step": str(training_step(workspace)), MODEL_TAG: _model_hash(client, run_id)}
    client.set_logged_model_tags(model_id, {key: value for key, value in tags.items() if value})
    figures = {f"training.{key}": float(value) for key, value in _summary(workspace).items()}
    now, step = int(time.time() * 1000), training_step(workspace)
    # MLflow tells figures of one name apart by their time alone, and not by their data.
    for later, (name, digest) in enumerate(sets.items()):
        _log(client, run_id, _Figures(model_id, figures, _Named(f"{name}.train", str(digest)), step, now + later))


def link_evaluation(
    client: MlflowClient, run_id: str, model_id: str, metrics: Mapping[str, Any], prefix: str = ""
) -> None:
    """Log an evaluation's figures to a logged model and its run, with the data that they were measured on.

    Args:
        client: MLflow's.
        run_id: of the run.
        model_id: of the logged model; of the run alone when empty.
        metrics: the content of `metrics.json`.
        prefix: `AGAIN` for an evaluation that is not the one that the version was registered with.
    """
    figures = finite_figures(metrics)
    if prefix:
        figures = {prefix + key.removeprefix("evaluation."): value for key, value in figures.items()}
    data = _Named(f"evaluation.{metrics.get('source', 'unknown')}", str(metrics["data_sha256"]))
    dataset = Dataset(data.name, data.digest, "local", json.dumps({"uri": data.name}))
    tags = {MLFLOW_DATASET_CONTEXT: "evaluation", "data_sha256": data.sha256}
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag(key, value) for key, value in tags.items()])])
    _log(client, run_id, _Figures(model_id, figures, data, 0, int(time.time() * 1000)))


class _Named:
    """A data set as a metric names it."""

    def __init__(self, name: str, sha256: str) -> None:
        self.name, self.sha256, self.digest = name, sha256, sha256[:_LONGEST_DIGEST]


@dataclass(frozen=True)
class _Figures:
    """Figures of a model about a data set, at a step and a time in milliseconds."""

    model_id: str
    values: Mapping[str, float]
    data: _Named
    step: int
    time: int


def _log(client: MlflowClient, run_id: str, figures: _Figures) -> None:
    about = {
        "model_id": figures.model_id or None,
        "dataset_name": figures.data.name,
        "dataset_digest": figures.data.digest,
        "run_id": run_id,
    }
    metrics = [Metric(key, value, figures.time, figures.step, **about) for key, value in figures.values.items()]
    for first in range(0, len(metrics), _METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=metrics[first : first + _METRICS_AT_ONCE])


def _model_hash(client: MlflowClient, run_id: str) -> str:
    return str(client.get_run(run_id).data.tags.get(MODEL_TAG, ""))


def _summary(workspace: Workspace) -> dict[str, Any]:
    """What training says of its end; empty for weights that it did not make."""
    try:
        values = json.loads((workspace.training_report / "metrics.json").read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
