"""A DVC workspace of two cheap stages, for what is about versions of data and not about what is in them."""

import os
import subprocess
import sys
from pathlib import Path

from dvc.repo import Repo

from stage.files import write_text
from stage.workspace import Workspace
from upkeep.repository import opened

_DEFINITION = """
vars:
  - code: .
stages:
  catalog:
    cmd: mkdir -p data/catalog && cp ${catalog.path}/* data/catalog
    deps: ["${catalog.path}", "${code}/rooms"]
    params: [seed, catalog]
    outs: [data/catalog]
  train:
    cmd: mkdir -p data/model data/evaluation && cat data/catalog/* > data/model/weights && echo 7 > data/evaluation/score
    deps: [data/catalog]
    params: [train]
    outs: [data/model, data/evaluation]
"""
PARAMETERS = "seed: 0\ncatalog: {path: inputs/objects, split: {val: 0.1}}\ntrain: {steps: 5}\n"


def mini_workspace(root: Path, remote: str | None = None) -> Workspace:
    """A workspace whose stages have not run.

    Args:
        root: its folder.
        remote: address of its default remote.
    """
    place = Workspace(root)
    for number in range(3):
        write_text(root / "inputs" / "objects" / f"{number}.txt", f"object {number}\n")
    write_text(root / "rooms" / "worker.py", "SAMPLES = 1\n")
    write_text(root / "dvc.yaml", _DEFINITION)
    write_text(place.parameters, PARAMETERS)
    Repo.init(str(root), no_scm=True).close()
    write_text(root / ".dvcignore", "scratch/\nmlflow/\n")
    if remote:
        write_text(root / ".dvc" / "config", configuration(remote))
    return place


def configuration(remote: str) -> str:
    """The DVC configuration of a workspace with a default remote."""
    return f"[core]\n    no_scm = True\n    remote = team\n['remote \"team\"']\n    url = {remote}\n"


def reproduced(place: Workspace) -> list[str]:
    """Run what is stale; the stages that ran."""
    with opened(place.root) as repo:
        return [stage.name for stage in repo.reproduce()]


def dvc(root: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A command of DVC in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
