"""What a stage's last run took, and the files that it was made of: `scratch/stages/<stage>.json`.

dvc.lock has one checksum for a folder of code or inputs, which tells that something changed and not what. A record has them by
file. Outputs of other stages are not in it: their lists are in DVC's cache.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from stage.files import file_sha256, write_json
from stage.workspace import Workspace

# A larger file is told from another by its size and time of change: assets may be terabytes.
_HASHED_BYTES = 2**20
# As in .dvcignore.
_IGNORED = {"__pycache__", ".git", ".dvc"}


@dataclass(frozen=True)
class StageRecord:
    """The last run of a stage that DVC started here."""

    seconds: float
    files: dict[str, dict[str, str]]
    """Of each dependency that no stage makes: a mark of content by relative name."""
    bytes: dict[str, int]
    """Of each such dependency, as dvc.lock has it."""


def write_record(workspace: Workspace, stage: str, seconds: float) -> None:
    """Put a stage's run on record, with its dependencies as they are now.

    Args:
        workspace: where it ran.
        stage: its name in dvc.yaml.
        seconds: how long it took.

    Raises:
        OSError: when it cannot be written, or a dependency cannot be read; there is none then, not that of an earlier run.
    """
    _path(workspace, stage).unlink(missing_ok=True)
    files, sizes = {}, {}
    for dependency in _own_dependencies(workspace, stage):
        path = workspace.root / dependency
        files[dependency] = marks(path)
        sizes[dependency] = sum(file.stat().st_size for _, file in _listed(path))
    write_json(_path(workspace, stage), asdict(StageRecord(round(seconds, 1), files, sizes)))


def read_record(workspace: Workspace, stage: str) -> StageRecord | None:
    """The record of a stage's last run; None without one that can be read."""
    try:
        return StageRecord(**json.loads(_path(workspace, stage).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def marks(path: Path) -> dict[str, str]:
    """A mark of the content of each file below a folder, or of a single file, by relative name."""
    return {name: _mark(file) for name, file in _listed(path)}


def _listed(path: Path) -> list[tuple[str, Path]]:
    if path.is_file():
        return [(path.name, path)]
    found = []
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        if not _IGNORED.intersection(relative.parts) and file.suffix != ".pyc" and file.is_file():
            found.append((relative.as_posix(), file))
    return found


def _mark(file: Path) -> str:
    status = file.stat()
    if status.st_size <= _HASHED_BYTES:
        return file_sha256(file)[:16]
    return f"{status.st_size} {status.st_mtime_ns}"


def _own_dependencies(workspace: Workspace, stage: str) -> list[str]:
    """The dependencies of a stage that no stage makes, as dvc.yaml names them, its templates filled in."""
    definition = yaml.safe_load((workspace.root / "dvc.yaml").read_text())
    parameters = yaml.safe_load(workspace.parameters.read_text())
    values = {**(parameters or {}), **{key: value for entry in definition["vars"] for key, value in entry.items()}}
    names = (Path(_filled(name, values)).as_posix() for name in definition["stages"][stage]["deps"])
    return [name for name in names if not name.startswith("data/")]


def _filled(name: str, values: dict[str, Any]) -> str:
    """A name with `${section.key}` replaced by the parameter's value."""

    def value(match: re.Match[str]) -> str:
        found: Any = values
        for part in match[1].split("."):
            found = found[part]
        return str(found)

    return re.sub(r"\$\{([\w.]+)\}", value, name)


def _path(workspace: Workspace, stage: str) -> Path:
    return workspace.scratch / "stages" / f"{stage}.json"
