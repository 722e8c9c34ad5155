"""Where a training run comes from, as tags of its record: commit, DVC's lock, data, libraries, devices, the flow that started it.

The three of git bear MLflow's own names, by which its page links to the code.
"""

import hashlib
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from stage.files import json_sha256
from stage.repository import commit_of, git, has_changes
from stage.workspace import Workspace

_FLOW_RUN = "PREFECT__FLOW_RUN_ID"
_DVC_EXPERIMENT = "DVC_EXP_NAME"


def origin_tags(workspace: Workspace, origin: Mapping[str, Any]) -> dict[str, str]:
    """Tags that lead back to what a run was made of; what is not known is left out.

    Args:
        workspace: where it works.
        origin: what decides the weights (`training.provenance`).
    """
    own = {f"viewforge.{key}": origin[key] for key in ("fingerprint", "code_sha256")}
    shards = {f"viewforge.shards_sha256.{name}": digest for name, digest in origin["shards_sha256"].items()}
    plan = {"viewforge.plan_sha256": json_sha256(origin["data"])}
    return {**own, **shards, **plan, **place_tags(workspace, "viewforge train")}


def place_tags(workspace: Workspace, program: str) -> dict[str, str]:
    """Tags of where any run works, and with which code and libraries.

    Args:
        workspace: where it works.
        program: the command, as `viewforge train`.
    """
    return {**_code_tags(workspace.root, program), **_dvc_tags(workspace.root), **_surroundings()}


def _code_tags(root: Path, program: str) -> dict[str, str]:
    found = {
        "mlflow.source.git.commit": commit_of(root),
        "mlflow.source.git.branch": git(root, "symbolic-ref", "--short", "HEAD"),
        "mlflow.source.git.dirty": None if (changes := has_changes(root)) is None else str(changes).lower(),
    }
    known = {key: value for key, value in found.items() if value}
    return {**known, "mlflow.source.name": program, "mlflow.source.type": "LOCAL"}


def _dvc_tags(root: Path) -> dict[str, str]:
    """The lock's MD5, which is DVC's own hash, and the commit that wrote it last."""
    lock = root / "dvc.lock"
    tags = {"dvc.experiment": os.environ.get(_DVC_EXPERIMENT)}
    if lock.is_file():
        digest = hashlib.md5(lock.read_bytes(), usedforsecurity=False).hexdigest()
        tags |= {"dvc.lock_md5": digest, "dvc.rev": git(root, "log", "-1", "--format=%H", "--", "dvc.lock")}
    return {key: value for key, value in tags.items() if value}


def _surroundings() -> dict[str, str]:
    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    libraries = {f"environment.{name}": version(name) for name in ("torch", "diffusers", "accelerate")}
    tags = {
        "environment.python": platform.python_version(),
        **libraries,
        "environment.devices": ", ".join(devices) or f"{platform.machine()}, {os.cpu_count()} cores",
        "environment.host": platform.node(),
    }
    flow_run = os.environ.get(_FLOW_RUN)
    return {**tags, **({"prefect.flow_run_id": flow_run} if flow_run else {})}
