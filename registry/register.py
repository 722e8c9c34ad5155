"""Registering: the trained and evaluated pipeline becomes a version of the registered model, and the challenger.

Reads `data/model/` and `data/evaluation/`; writes to MLflow alone. The training run is found by the hash of its weights, since a
cached stage makes no run. Registering the same weights with the same figures again changes nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from evaluation.parameters import EvaluateParameters
from registry.card_publication import publish_cards
from registry.client import CHALLENGER, CHAMPION, holders, open_registry
from registry.data_version import log_data_version
from registry.evaluated import METRICS_FILE, read_metrics, unseen_tags
from registry.evaluation_record import read_record
from registry.lineage import MODEL_TAG, lineage_tags
from registry.logged_model import link_evaluation, link_training, training_step
from registry.model_facts import log_facts
from registry.parameters import RegisterParameters
from registry.served_pipeline import log_pipeline, refuse_unserved
from registry.version_records import REGISTERED_TAG, log_record
from stage.errors import InputError
from stage.files import folder_sha256, json_sha256
from stage.parameters import load_section, read_parameters
from stage.secrets import redacted
from stage.workspace import Workspace
from training.tracking.journals import flush
from training.tracking.mlflow_place import experiment_id
from training.tracking.tracker import flattened

# Beside its metrics.json, and the tables that the gate pairs objects by.
_LOGGED = {".png", ".html", ".parquet", ".csv"}
_LONGEST_PARAMETER = 500
_PATIENCE_SECONDS = 60.0


def register(parameters: RegisterParameters, workspace: Workspace) -> ModelVersion:
    """Register the workspace's pipeline with its evaluation, and make it the challenger unless it is the champion.

    Args:
        parameters: the registered model's name.
        workspace: whose pipeline and evaluation.

    Returns:
        MLflow's version, new or the one that exists; give its `version` to `promote`.

    Raises:
        InputError: when the pipeline or its evaluation is missing, the pipeline takes other inputs than those served, or MLflow
            refuses.
    """
    if not (workspace.model / "model_index.json").is_file():
        raise InputError(f"no trained pipeline in {workspace.model}", "run viewforge train")
    refuse_unserved(workspace)
    metrics = read_metrics(workspace.evaluation / METRICS_FILE)
    tags = _version_tags(workspace, metrics)
    with open_registry(workspace) as client:
        # The training run's own record, where MLflow was away when the training ended.
        flush(workspace, _PATIENCE_SECONDS)
        _ensure_model(client, parameters.model_name)
        version = _existing(client, parameters.model_name, tags)
        if version is None:
            version = _new_version(client, parameters.model_name, workspace, metrics, tags)
        number = str(version.version)
        if holders(client, parameters.model_name).get(CHAMPION) != number:
            client.set_registered_model_alias(parameters.model_name, CHALLENGER, number)
        publish_cards(client, parameters.model_name, [number])
        return client.get_model_version(parameters.model_name, number)


def _version_tags(workspace: Workspace, metrics: Mapping[str, Any]) -> dict[str, str]:
    return {
        MODEL_TAG: folder_sha256(workspace.model),
        "evaluation.sha256": json_sha256(metrics),
        "evaluation.data_sha256": metrics["data_sha256"],
        **unseen_tags(metrics),
        **lineage_tags(workspace),
    }


def _ensure_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name, description="Novel views of an object from one picture (viewforge).")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _existing(client: MlflowClient, name: str, tags: Mapping[str, str]) -> ModelVersion | None:
    """The newest version with these weights and these figures."""
    keys = (MODEL_TAG, "evaluation.sha256")
    found = client.search_model_versions(f"name = '{name}' and tags.`{MODEL_TAG}` = '{tags[MODEL_TAG]}'")
    same = [v for v in found if REGISTERED_TAG in v.tags and all(v.tags.get(key) == tags[key] for key in keys)]
    return max(same, key=lambda version: int(version.version), default=None)


def _new_version(
    client: MlflowClient, name: str, workspace: Workspace, metrics: Mapping[str, Any], tags: dict[str, str]
) -> ModelVersion:
    """Log pipeline, figures and pictures to the training run; tags come with the version, so it is whole or absent."""
    sampling = load_section(workspace.parameters, "evaluate", EvaluateParameters)
    record = read_record(workspace.evaluation, sampling)
    run_id = training_run(client, tags[MODEL_TAG]) or _substitute_run(client, workspace, tags[MODEL_TAG])
    # Nested, since the caller may have a run of its own open.
    with _ended_as_before(client, run_id), mlflow.start_run(run_id=run_id, nested=True):
        model_id = log_pipeline(workspace, sampling, training_step(workspace))
        link_training(client, run_id, model_id, workspace)
        link_evaluation(client, run_id, model_id, metrics)
        for path in _report_files(workspace.evaluation):
            mlflow.log_artifact(str(path), artifact_path="evaluation")
        tags = {**tags, **log_facts(client, run_id, workspace)}
    tags = {**tags, REGISTERED_TAG: log_record(client, run_id, record), **log_data_version(client, run_id, workspace)}
    return client.create_model_version(name, f"models:/{model_id}", run_id=run_id, tags=tags, model_id=model_id)


@contextmanager
def _ended_as_before(client: MlflowClient, run_id: str) -> Iterator[None]:
    """Reopening a training's run makes its training look neither longer nor, where it fails, failed."""
    before = client.get_run(run_id).info
    try:
        yield
    finally:
        if before.end_time:
            client.set_terminated(run_id, before.status, before.end_time)


def training_run(client: MlflowClient, model_sha256: str) -> str | None:
    """The newest run whose weights have this hash."""
    # All of them: the client's own list ends after a thousand, which a server of many teams has.
    experiments = [experiment.experiment_id for experiment in mlflow.search_experiments(ViewType.ACTIVE_ONLY)]
    found = client.search_runs(
        experiments, f"tags.`{MODEL_TAG}` = '{model_sha256}'", order_by=["attributes.start_time DESC"], max_results=1
    )
    return str(found[0].info.run_id) if found else None


def _substitute_run(client: MlflowClient, workspace: Workspace, model_sha256: str) -> str:
    """A run for weights whose training this MLflow has not seen: from a cache, or from another machine."""
    tags = {MODEL_TAG: model_sha256, "viewforge.substitute": "no training run with these weights is known here"}
    run_id = str(client.create_run(experiment_id(workspace), run_name="registered", tags=tags).info.run_id)
    for key, value in flattened(read_parameters(workspace.parameters)).items():
        client.log_param(run_id, key, redacted(str(value))[:_LONGEST_PARAMETER])
    return run_id


def _report_files(evaluation: Path) -> list[Path]:
    """The figures, tables, pictures and the report of the evaluation."""
    return sorted(p for p in evaluation.rglob("*") if p.name == METRICS_FILE or p.suffix in _LOGGED)
