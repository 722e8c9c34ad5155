"""A champion with stale figures is evaluated again, on the data, protocol, sampler settings and metrics of its challenger.

Its pipeline comes out of the registry into a workspace in scratch that shares catalogue, renders, shards and parameters with the
present one; the `evaluate` stage runs there. The figures are attached to the champion's version beside those that it was
registered with.
"""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from evaluation.evaluate import evaluate
from evaluation.parameters import EvaluateParameters
from registry.evaluation_record import EvaluationRecord, read_record
from registry.version_records import AGAIN_TAG, download_pipeline, log_record, records
from stage.errors import ViewforgeError
from stage.lifeline import exclusive
from stage.parameters import load_section, load_seed
from stage.workspace import Workspace

_SHARED = (
    "params.yaml",
    "inputs",
    "data/catalog",
    "data/renders",
    "data/shards",
    "data/training",
    "scratch/evaluation",
)


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
    """
    if comparable_record(client, champion, ours, metrics):
        return None
    stale = f"the champion, version {champion.version}, has no evaluation on the terms of this model"
    try:
        parameters = load_section(workspace.parameters, "evaluate", EvaluateParameters)
        present = read_record(workspace.evaluation, parameters)
        if differences := ours.differences(present, metrics):
            return (
                f"{stale}, and this workspace cannot make one: its own evaluation differs in {'; '.join(differences)}"
            )
        again = _evaluated_again(champion, parameters, workspace)
    except (ViewforgeError, OSError, RuntimeError, ValueError) as error:
        # Also what a pipeline of another size or system fails with: whatever it is, the champion stays.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return f"{stale}, and evaluating it again failed: {reason}"
    _attach(client, champion, again)
    differences = ours.differences(again, metrics)
    return f"{stale}; evaluated again here it differs in {'; '.join(differences)}" if differences else None


def _evaluated_again(champion: ModelVersion, parameters: EvaluateParameters, workspace: Workspace) -> EvaluationRecord:
    parent = workspace.scratch / "promotion"
    parent.mkdir(parents=True, exist_ok=True)
    with (
        exclusive(workspace, "evaluate"),
        tempfile.TemporaryDirectory(prefix=f"version-{champion.version}-", dir=parent) as folder,
    ):
        place = Workspace(Path(folder) / "workspace")
        _share(workspace, place)
        place.model.symlink_to(download_pipeline(champion, Path(folder) / "download").resolve())
        evaluate(parameters, load_seed(workspace.parameters), place)
        return read_record(place.evaluation, parameters)


def _share(workspace: Workspace, place: Workspace) -> None:
    """Link what the evaluation reads; the rendered views are shared too, as they follow from objects and parameters alone."""
    (workspace.scratch / "evaluation").mkdir(parents=True, exist_ok=True)
    for name in _SHARED:
        source, link = workspace.root / name, place.root / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if source.exists():
            link.symlink_to(source.resolve())


def _attach(client: MlflowClient, champion: ModelVersion, again: EvaluationRecord) -> None:
    """The artifact first, then the tags that lead to it."""
    place = log_record(client, str(champion.run_id), again)
    tags = {
        AGAIN_TAG: place,
        "reevaluation.data_sha256": str(again.basis.get("data_sha256")),
        "reevaluation.time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for key, value in tags.items():
        client.set_model_version_tag(champion.name, champion.version, key, value)
    champion.tags.update(tags)
