"""The registered versions that have an alias: their weights and figures, hashed again, and promotions that stopped half-way.

What no alias names serves nobody and is left out.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from registry.client import open_registry
from registry.evaluation_record import record_sha256
from registry.lineage import MODEL_TAG
from registry.rollback import PENDING_TAG
from registry.run_artifacts import fetch_folder
from registry.version_records import AGAIN_TAG, REGISTERED_TAG, download_pipeline
from stage.errors import InputError, ViewforgeError
from stage.files import folder_sha256
from stage.progress import Progress
from stage.secrets import redacted
from stage.workspace import Workspace
from training.tracking.mlflow_place import use_mlflow
from upkeep.findings import Checked, Finding, together

_REGISTER = "restore MLflow's artifacts, or register the model again: viewforge promote"


def check_registry(place: Workspace) -> Checked:
    """Weights and evaluations of all aliased versions of all models that this workspace's MLflow knows."""
    uri = use_mlflow(place)
    local = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not local.is_file():
        return Checked(skipped=(f"registry: there is no {local}",))
    try:
        with open_registry(place) as client:
            models = list(client.search_registered_models())
            return together([*(_interrupted(model) for model in models), *_versions(client, models, place)])
    except ViewforgeError as error:
        return Checked((Finding("registry", uri.rpartition("@")[2], "it cannot be read", str(error)),))


def _interrupted(model: RegisteredModel) -> Checked:
    if PENDING_TAG not in model.tags:
        return Checked(checked=1)
    problem = "a rollback stopped half-way"
    return Checked((Finding("registry", model.name, problem, "viewforge rollback --reason WHY completes it"),), 1)


def _versions(client: MlflowClient, models: list[RegisteredModel], place: Workspace) -> Iterator[Checked]:
    named = sorted({(model.name, str(version)) for model in models for version in model.aliases.values()})
    place.scratch.mkdir(parents=True, exist_ok=True)
    with Progress("registry", len(named), "versions") as progress:
        for name, number in named:
            with tempfile.TemporaryDirectory(prefix="verify-", dir=place.scratch) as folder:
                yield _version(client, name, number, Path(folder))
            progress.advance()


def _version(client: MlflowClient, name: str, number: str, folder: Path) -> Checked:
    label = f"{name} version {number}"
    try:
        version = client.get_model_version(name, number)
    except MlflowException as error:
        return Checked(
            (Finding("registry", label, _first_line(error), "an alias names it: promote another version"),), 1
        )
    return together(
        [
            _decision(version, label),
            _weights(version, label, folder / "pipeline"),
            *(_figures(client, version, label, tag, folder) for tag in (REGISTERED_TAG, AGAIN_TAG)),
        ]
    )


def _decision(version: ModelVersion, label: str) -> Checked:
    if version.tags.get("promotion.decision") != "promoting":
        return Checked()
    remedy = f"viewforge promote --version {version.version} completes it"
    return Checked((Finding("registry", label, "its promotion stopped half-way", remedy),))


def _weights(version: ModelVersion, label: str, folder: Path) -> Checked:
    expected = version.tags.get(MODEL_TAG)
    if not expected:
        return Checked(skipped=(f"{label}: it carries no hash of its weights ({MODEL_TAG})",))
    folder.mkdir()
    try:
        pipeline = download_pipeline(version, folder)
    except InputError as error:
        return Checked((Finding("model", label, str(error), _REGISTER),), 1)
    size = sum(path.stat().st_size for path in pipeline.rglob("*") if path.is_file())
    digest = folder_sha256(pipeline)
    problem = f"its files have the hash {digest[:12]}…, and it was registered with {expected[:12]}…"
    return Checked((Finding("model", label, problem, _REGISTER),) if digest != expected else (), 1, size)


def _figures(client: MlflowClient, version: ModelVersion, label: str, tag: str, folder: Path) -> Checked:
    """The evaluation below a tag, whose folder is named after its content."""
    stored = version.tags.get(tag)
    if not stored:
        return Checked()
    target = folder / tag
    target.mkdir()
    try:
        found = fetch_folder(client, str(version.run_id), stored, target)
        if found is None:
            return Checked((Finding("evaluation", label, f"{stored} is gone", _REGISTER),), 1)
        digest = record_sha256(found)
    except (ViewforgeError, OSError) as error:
        return Checked((Finding("evaluation", label, f"{stored} cannot be had ({_first_line(error)})", _REGISTER),), 1)
    if digest.startswith(stored.rpartition("/")[2]):
        return Checked(checked=1)
    return Checked((Finding("evaluation", label, f"{stored} is not what was stored there", _REGISTER),), 1)


def _first_line(error: Exception) -> str:
    return redacted((str(error).splitlines() or [type(error).__name__])[0])
