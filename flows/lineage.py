"""Of a workspace's model: the revision of its data in DVC, the commit of its code, and its training run in MLflow."""

import hashlib
from dataclasses import dataclass

from registry.lineage import UNKNOWN
from stage.errors import ViewforgeError
from stage.files import folder_sha256
from stage.repository import commit_of, has_changes
from stage.secrets import redacted
from stage.workspace import Workspace


@dataclass(frozen=True)
class Lineage:
    """Where a model comes from."""

    facts: dict[str, str]
    """For people, by name."""
    run_id: str | None = None
    """Of the training run; None where MLflow knows none of these weights."""
    run_page: str | None = None
    """Its page; None without a server that has pages."""


def lineage(workspace: Workspace) -> Lineage:
    """Look it up; a registry that is away is said, and no error."""
    facts = {"DVC revision": _revision(workspace), "commit": _commit(workspace)}
    if not (workspace.model / "model_index.json").is_file():
        return Lineage({**facts, "model": "none is trained yet"})
    weights = folder_sha256(workspace.model)
    facts["model SHA-256"] = weights
    try:
        run_id, page = _training_run(workspace, weights)
    except ViewforgeError as error:
        return Lineage({**facts, "MLflow run": f"{UNKNOWN}: {error}"})
    return Lineage({**facts, "MLflow run": run_id or "none with these weights"}, run_id, page)


def _revision(workspace: Workspace) -> str:
    """The hash of dvc.lock, which names every output of every stage by its own."""
    path = workspace.root / "dvc.lock"
    if not path.is_file():
        return "no dvc.lock"
    return f"dvc.lock with MD5 {hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"


def _commit(workspace: Workspace) -> str:
    commit = commit_of(workspace.root)
    return f"{commit}{' with changes' if has_changes(workspace.root) else ''}" if commit else UNKNOWN


def _training_run(workspace: Workspace, weights: str) -> tuple[str | None, str | None]:
    """Id and page of the run that made these weights."""
    from registry.client import open_registry
    from registry.register import training_run
    from training.tracking.mlflow_place import use_mlflow

    uri = use_mlflow(workspace)
    with open_registry(workspace) as client:
        run_id = training_run(client, weights)
        if run_id is None or not uri.startswith("http"):
            return run_id, None
        experiment = client.get_run(run_id).info.experiment_id
        return run_id, f"{redacted(uri).rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"
