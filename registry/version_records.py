"""What a registered version carries: its evaluations, in its run's artifacts, and its pipeline."""

import tempfile
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.tracking import MlflowClient

from registry.evaluation_record import EvaluationRecord, record_sha256, store, stored_record
from registry.run_artifacts import RESTORE, fetch_folder, fetch_model, pipeline_name
from stage.errors import InputError

# Folders in the run's artifacts: of the evaluation that it was registered with, and of the last one that promotion made of it.
REGISTERED_TAG = "evaluation.figures"
AGAIN_TAG = "reevaluation.figures"


def log_record(client: MlflowClient, run_id: str, record: EvaluationRecord) -> str:
    """Log an evaluation to a run; its folder there, named after its content, so that none replaces another."""
    with tempfile.TemporaryDirectory(prefix="viewforge-record-") as folder:
        store(record, Path(folder))
        place = f"figures/{record_sha256(Path(folder))[:12]}"
        client.log_artifacts(run_id, folder, place)
    return place


def records(client: MlflowClient, version: ModelVersion) -> list[EvaluationRecord]:
    """The evaluations that a version carries, the last one first; those that are gone or damaged are left out.

    Raises:
        InputError: when one is out of reach at the moment.
    """
    places = [version.tags[tag] for tag in (AGAIN_TAG, REGISTERED_TAG) if version.tags.get(tag)]
    found = [_record(client, str(version.run_id), place) for place in places]
    return [record for record in found if record]


def own_record(client: MlflowClient, version: ModelVersion) -> EvaluationRecord:
    """The evaluation that a version was registered with.

    Raises:
        InputError: when it carries none, or it is out of reach at the moment.
    """
    place = version.tags.get(REGISTERED_TAG)
    record = _record(client, str(version.run_id), place) if place else None
    if record is None:
        raise InputError(f"version {version.version} of {version.name} carries no evaluation", "register it again")
    return record


def _record(client: MlflowClient, run_id: str, place: str) -> EvaluationRecord | None:
    with tempfile.TemporaryDirectory(prefix="viewforge-record-") as folder:
        if (found := fetch_folder(client, run_id, place, Path(folder))) is None:
            return None
        try:
            return stored_record(found)
        except InputError:
            return None


def logged_model_id(version: ModelVersion) -> str | None:
    """The logged model that a version was made of; MLflow keeps it as the version's source alone. None for another source."""
    source = str(version.source or "")
    return source.removeprefix("models:/") if source.startswith("models:/m-") else None


def has_run(client: MlflowClient, version: ModelVersion) -> bool:
    """Whether the version's run, which carries its records, is still there: `mlflow gc` removes deleted ones for good."""
    try:
        return bool(version.run_id and client.get_run(version.run_id))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    return False


def download_pipeline(version: ModelVersion, folder: Path) -> Path:
    """A version's pipeline folder, as training wrote it.

    Args:
        version: a registered one.
        folder: an empty one to download to.

    Raises:
        OutOfReachError: when they cannot be had at the moment.
        InputError: when its artifacts are gone or hold no pipeline.
    """
    root = fetch_model(version, folder)
    try:
        relative = Model.load(root).flavors["python_function"]["artifacts"]["pipeline"]["path"]
    except (MlflowException, OSError, KeyError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(f"{pipeline_name(version)} cannot be had ({reason})", RESTORE) from None
    return root / str(relative)
