"""Workspaces other than the repository's root: a folder with its own parameters, outputs and registry.

They share the code and `dvc.yaml` of the project: the folder `code` in a workspace links to its rooms, so that a change of
code makes a stage stale there too.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

import stage
from reconstruction.optimisation.section import SECTION
from stage.errors import InputError, ParameterError
from stage.files import json_sha256, write_text
from stage.parameters import merged, overridden, read_parameters
from stage.workspace import Workspace

PROJECT = Path(stage.__file__).resolve().parents[1]
# A workspace may have its own.
_GATE = "mlflow/promotion.yaml"
_ROOM = re.compile(r"\$\{code\}/(\w+)")


def chosen_parameters(base: Path, config: Path | None, assignments: list[str]) -> dict[str, Any]:
    """The parameters of a run: `base`, a configuration laid over it, and single assignments over both."""
    values = read_parameters(base)
    if config:
        values = merged(values, read_parameters(config))
    return overridden(values, assignments)


def workspace_for(parameters: dict[str, Any], project: Workspace) -> Workspace:
    """The workspace of overridden parameters: below `runs/`, named after the source and the parameters' hash."""
    source = parameters.get("catalog", {}).get("source", "run")
    # No stage depends on how objects are reconstructed by hand: another way of it needs no other workspace.
    told = {name: values for name, values in parameters.items() if name != SECTION}
    return Workspace(project.root / "runs" / f"{source}-{json_sha256(told)[:8]}")


def prepare(workspace: Workspace, parameters: dict[str, Any] | None = None) -> None:
    """Make the folder a workspace, or bring its parameters up to date; outputs that are still good are kept.

    Args:
        workspace: the folder.
        parameters: what its params.yaml shall hold; the file stays as it is when None.

    Raises:
        InputError: when `dvc init` fails.
        ParameterError: when an input folder contains the workspace.
    """
    if parameters is not None:
        _refuse_inputs_around(workspace, parameters)
    workspace.root.mkdir(parents=True, exist_ok=True)
    if parameters is not None:
        write_text(workspace.parameters, yaml.safe_dump(parameters, sort_keys=False))
    if not (workspace.root / "dvc.yaml").is_file():
        _link_project(workspace)
    _complete_ignores(workspace.root / ".dvcignore")
    for folder in ("objects", "gso", "lists"):
        (workspace.root / "inputs" / folder).mkdir(parents=True, exist_ok=True)


def _refuse_inputs_around(workspace: Workspace, parameters: dict[str, Any]) -> None:
    """An input folder that contains the workspace would contain its own outputs."""
    for name in ("catalog.path", "catalog.selection.lists", "evaluate.path"):
        path = _value(parameters, name)
        if path and workspace.root.resolve().is_relative_to((workspace.root / path).resolve()):
            raise ParameterError(
                f"{name} = {path} contains the workspace {workspace.root}",
                "choose a --workspace outside of it, or a folder of inputs alone",
            )


def _value(parameters: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - any YAML value
    """The value of a dotted name; None where a section of it is missing."""
    value: Any = parameters
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _link_project(workspace: Workspace) -> None:
    root = workspace.root
    definition = (PROJECT / "dvc.yaml").read_text()
    _link_code(root / "code", definition)
    for name in (
        "inputs/objects/README.md",
        "inputs/gso/README.md",
        "inputs/lists/README.md",
        _GATE,
        "mlflow/served_model.py",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name != _GATE or not (root / name).exists():
            shutil.copyfile(PROJECT / name, root / name)
    if not (root / ".dvc").is_dir():
        _dvc_init(root)
    write_text(root / "dvc.yaml", definition.replace("- code: .\n", "- code: code\n"))


def _complete_ignores(path: Path) -> None:
    """Add what the project ignores by now to a workspace's list; nothing of the list goes, as a person may have added to it."""
    present = path.read_text().splitlines() if path.is_file() else []
    # A pattern without its slash at the start covers the one with it.
    known = {*present, *(f"/{line}" for line in present)}
    missing = [line for line in (PROJECT / ".dvcignore").read_text().splitlines() if line not in known]
    if any(not line.startswith("#") for line in missing):
        write_text(path, "\n".join([*present, *missing]) + "\n")


def _link_code(folder: Path, definition: str) -> None:
    """Links to the rooms that the stages depend on, one by one: DVC passes over a folder that is a DVC repository."""
    folder.mkdir(exist_ok=True)
    for room in set(_ROOM.findall(definition)):
        (folder / room).unlink(missing_ok=True)
        (folder / room).symlink_to(PROJECT / room)


def _dvc_init(root: Path) -> None:
    command = [sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if result.returncode:
        raise InputError(f"dvc init failed in {root}: {result.stderr.strip().splitlines()[-1]}", "see dvc init there")
    configuration = (PROJECT / ".dvc" / "config").read_text()
    write_text(root / ".dvc" / "config", configuration.replace("[core]\n", "[core]\n    no_scm = True\n"))
