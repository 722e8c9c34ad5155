"""A champion with stale figures is evaluated again, on the data, protocol, sampler settings and metrics of its challenger.

Its pipeline comes out of the registry into a workspace in scratch that shares all with the present one but what is of its model;
the `evaluate` stage runs there. The figures are attached to the champion's version beside those that it was registered with.
"""

import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mlflow.entities import LifecycleStage
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from evaluation.evaluate import evaluate
from evaluation.parameters import EvaluateParameters
from evaluation.reconstruction_figures import PREFIX
from registry.evaluation_record import EvaluationRecord, names_part, read_record
from registry.logged_model import AGAIN, link_evaluation
from registry.run_artifacts import OutOfReachError
from registry.version_records import AGAIN_TAG, download_pipeline, has_run, log_record, logged_model_id, records
from stage.errors import ViewforgeError, is_full_disk
from stage.lifeline import exclusive
from stage.parameters import load_section, load_seed
from stage.secrets import redacted
from stage.workspace import Workspace

# Of the present model, or of what runs here; the next evaluation goes on with it.
_OWN = {
    Path(name)
    for name in (
        *("data/model", "data/evaluation", "scratch/locks", "scratch/promotion"),
        *("scratch/evaluation/predictions", "scratch/evaluation/made", "scratch/evaluation/timing.json"),
        "scratch/evaluation/reconstructions",
    )
}
# What an evaluation makes of objects, whichever model is evaluated.
_OF_OBJECTS = ("unseen", "training", "surfaces")


def comparable_record(
    client: MlflowClient, champion: ModelVersion, ours: EvaluationRecord, metrics: Sequence[str]
) -> EvaluationRecord | None:
    """The champion's evaluation on the same terms as ours, or None."""
    return next((r for r in records(client, champion) if not ours.differences(r, metrics)), None)


def refresh(
    client: MlflowClient,
    champion: ModelVersion,
    ours: EvaluationRecord,
    metrics: Sequence[str],
    workspace: Workspace,
) -> str | None:
    """Evaluate a champion again if none of its evaluations compares with ours; why that cannot be done, or None.

    Args:
        client: the registry's.
        champion: its version.
        ours: the challenger's evaluation.
        metrics: figures that are to be compared.
        workspace: in which the challenger was evaluated.

    Raises:
        OutOfReachError: when the champion's figures or pipeline cannot be had at the moment.
        OSError: when the disk is full.
    """
    if comparable_record(client, champion, ours, metrics):
        return None
    stale = f"the champion, version {champion.version}, has no evaluation on the terms of this model"
    if why := _unwritable(client, champion):
        return f"{stale}, and {why}"
    try:
        parameters = load_section(workspace.parameters, "evaluate", EvaluateParameters)
        present = read_record(workspace.evaluation, parameters)
        if differences := ours.differences(present, metrics):
            return (
                f"{stale}, and this workspace cannot make one: its own evaluation differs in {'; '.join(differences)}"
            )
        resolution = present.basis["sampler"].get("resolution")
        again = _evaluated_again(champion, _needed(parameters, metrics), resolution, workspace)
    except (ViewforgeError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, OutOfReachError) or is_full_disk(error):
            # It says nothing of either model, and another attempt may go through.
            raise
        # Also what a pipeline of another size or system fails with: whatever it is, the champion stays.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        # It becomes a tag that all see.
        return f"{stale}, and evaluating it again failed: {redacted(reason)}"
    _attach(client, champion, again)
    differences = ours.differences(again, metrics)
    return f"{stale}; evaluated again here it differs in {'; '.join(differences)}" if differences else None


def _unwritable(client: MlflowClient, champion: ModelVersion) -> str:
    """Why a champion's run could not carry another evaluation; empty where it can. MLflow takes no figure for a deleted one."""
    if not has_run(client, champion):
        return "its run, which would carry one, is gone"
    if client.get_run(str(champion.run_id)).info.lifecycle_stage == LifecycleStage.DELETED:
        return f"its run is deleted; mlflow runs restore --run-id {champion.run_id} brings it back"
    return ""


def _evaluated_again(
    champion: ModelVersion, parameters: EvaluateParameters, resolution: int | None, workspace: Workspace
) -> EvaluationRecord:
    parent = workspace.scratch / "promotion"
    parent.mkdir(parents=True, exist_ok=True)
    with exclusive(workspace, "evaluate"):
        for left in parent.glob("version-*"):
            # Of a process that was killed.
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f"version-{champion.version}-", dir=parent) as folder:
            place = Workspace(Path(folder) / "workspace")
            _share(workspace, place)
            place.model.symlink_to(download_pipeline(champion, Path(folder) / "download").resolve())
            evaluate(_in_place(parameters, resolution, workspace), load_seed(workspace.parameters), place)
            return read_record(place.evaluation, parameters)


def _needed(parameters: EvaluateParameters, metrics: Sequence[str]) -> EvaluateParameters:
    """Less what no figure is about that is to be compared: reconstructions take hours."""
    return parameters if names_part(metrics, PREFIX) else parameters.model_copy(update={"reconstruct": None})


def _in_place(parameters: EvaluateParameters, resolution: int | None, workspace: Workspace) -> EvaluateParameters:
    """The same evaluation from another folder; a champion that makes pictures of another size is refused by naming the size."""
    names = parameters.objects
    objects = str(workspace.root / names) if isinstance(names, str) else names
    path = str(workspace.root / parameters.path)
    return parameters.model_copy(update={"path": path, "objects": objects, "resolution": resolution})


def _share(workspace: Workspace, place: Workspace) -> None:
    """Link all that is not of the present model, the rendered views too: they follow from objects and parameters alone."""
    for name in _OF_OBJECTS:
        (workspace.scratch / "evaluation" / name).mkdir(parents=True, exist_ok=True)
    _link(workspace.root, place.root, Path())


def _link(root: Path, place: Path, folder: Path) -> None:
    (place / folder).mkdir(parents=True)
    for source in (root / folder).iterdir():
        name = folder / source.name
        if any(name in own.parents for own in _OWN):
            _link(root, place, name)
        elif name not in _OWN and not (folder == Path() and source.name.startswith(".")):
            (place / name).symlink_to(source.resolve())


def _attach(client: MlflowClient, champion: ModelVersion, again: EvaluationRecord) -> None:
    """The artifact first, then the tags that lead to it."""
    place = log_record(client, str(champion.run_id), again)
    link_evaluation(client, str(champion.run_id), logged_model_id(champion) or "", again.metrics, AGAIN)
    tags = {
        AGAIN_TAG: place,
        "reevaluation.data_sha256": str(again.basis.get("data_sha256")),
        "reevaluation.time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for key, value in tags.items():
        client.set_model_version_tag(champion.name, champion.version, key, value)
    champion.tags.update(tags)
