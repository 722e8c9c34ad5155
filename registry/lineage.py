"""Where a model comes from: commit, data, parameters and weights, as tags of its version, which outlive its run."""

import json
import subprocess
from pathlib import Path
from typing import Any

from stage.errors import InputError
from stage.files import file_sha256
from stage.workspace import Workspace

UNKNOWN = "unknown"
MODEL_TAG = "viewforge.model_sha256"
# They change with every run, and lineage records the hash of the one; neither makes the code another.
_RUN_OUTPUTS = (":(exclude)dvc.lock", ":(exclude)promotion.json")


def lineage_tags(workspace: Workspace) -> dict[str, str]:
    """Tags that lead back to code, data and parameters; "unknown" where a file or git is missing."""
    files = {
        "params_sha256": workspace.parameters,
        "data.catalog_sha256": workspace.catalog / "catalog.parquet",
        "data.shards_sha256": workspace.shards / "index.parquet",
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
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", ".", *_RUN_OUTPUTS) if commit else None
    dirty = UNKNOWN if changes is None else str(bool(changes)).lower()
    return {"git.commit": commit or UNKNOWN, "git.dirty": dirty}


def _git(root: Path, *arguments: str) -> str | None:
    """What git answers; None outside a repository, before its first commit, or without git."""
    try:
        answer = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
