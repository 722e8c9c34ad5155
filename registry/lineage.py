"""Where a model comes from: commit, data, parameters and weights, as tags of its version, which outlive its run."""

import json
from pathlib import Path
from typing import Any

from stage.errors import InputError
from stage.files import file_sha256
from stage.repository import commit_of, has_changes
from stage.workspace import Workspace

UNKNOWN = "unknown"
MODEL_TAG = "viewforge.model_sha256"
SHARDS_TAG = "data.shards_sha256"


def lineage_tags(workspace: Workspace) -> dict[str, str]:
    """Tags that lead back to code, data and parameters; "unknown" where a file or git is missing."""
    files = {
        "params_sha256": workspace.parameters,
        "data.catalog_sha256": workspace.catalog / "catalog.parquet",
        SHARDS_TAG: workspace.shards / "index.parquet",
        "dvc.lock_sha256": workspace.root / "dvc.lock",
    }
    hashes = {key: file_sha256(path) if path.is_file() else UNKNOWN for key, path in files.items()}
    fingerprint = str(read_provenance(workspace).get("fingerprint", UNKNOWN))
    return {**hashes, **_git_tags(workspace.root), "training.fingerprint": fingerprint}


def read_provenance(workspace: Workspace) -> dict[str, Any]:
    """What training wrote beside the weights; empty for a pipeline that it did not make.

    Raises:
        InputError: when it is no JSON mapping.
    """
    path = workspace.model / "provenance.json"
    try:
        values = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InputError(f"{path} is no JSON mapping", "run viewforge train, or delete the file")
    return values


def _git_tags(root: Path) -> dict[str, str]:
    changes = has_changes(root)
    dirty = UNKNOWN if changes is None else str(changes).lower()
    return {"git.commit": commit_of(root) or UNKNOWN, "git.dirty": dirty}
