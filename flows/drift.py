"""Why a stage would run again: which parameter, file of code, input or output changed, from what to what.

DVC tells that a folder or a section of parameters changed. Here the two sides are compared in detail: parameters with dvc.lock,
packs and shards with the list of them in DVC's cache, code and inputs with the record of the stage's last run
(`upkeep.stage_records`). Where the old side is not known any more, that is said.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx
from dvc.dependency.param import ParamsDependency
from dvc_data.hashfile.build import build
from dvc_data.hashfile.tree import Tree
from dvc_objects.errors import ObjectFormatError

from flows.graph import in_order
from stage.workspace import Workspace
from training.tracking.tracker import flattened
from upkeep.repository import locked_stages, opened
from upkeep.stage_records import StageRecord, marks, read_record

_NAMED = 3
Sides = tuple[Mapping[str, str], Mapping[str, str]]
_ABSENT = "absent"
_KINDS = ("never ran", "command", "parameter", "code", "input", "data", "output")


@dataclass(frozen=True)
class Reason:
    """One thing that makes a stage stale."""

    kind: str
    """never ran, command, parameter, code, input, data, output or upstream."""
    text: str
    """What changed, as "render.views: 12 -> 16" or "code/stage: 1 changed (packs.py)"."""

    def __str__(self) -> str:
        return f"{self.kind} {self.text}" if self.text else self.kind


@dataclass(frozen=True)
class StageDrift:
    """A stage that would run, its own reasons first and those of stages before it last."""

    stage: str
    reasons: tuple[Reason, ...]
    seconds: float | None
    """That its last run took here; None where none is on record."""


def explain(root: Path) -> list[StageDrift]:
    """The stages that would run, in order, each with all reasons.

    Raises:
        InputError: when the folder is no DVC workspace, or its dvc.yaml, dvc.lock or parameters cannot be read.
    """
    # The repository is looked at from inside.
    root = root.resolve()
    with opened(root) as repo:
        order, locked = in_order(repo), locked_stages(root)
        own = {stage.name: list(_own_reasons(stage, root, locked)) for stage in order}
        drifts = []
        for number, stage in enumerate(order):
            before = networkx.descendants(repo.index.graph, stage)
            above = [Reason("upstream", other.name) for other in order[:number] if own[other.name] and other in before]
            direct = sorted(own[stage.name], key=lambda reason: _KINDS.index(reason.kind))
            if direct or above:
                record = read_record(Workspace(root), stage.name)
                drifts.append(StageDrift(stage.name, (*direct, *above), record.seconds if record else None))
        return drifts


def _own_reasons(stage: Any, root: Path, locked: Mapping[str, Any]) -> Iterator[Reason]:  # noqa: ANN401 - DVC's stage
    if stage.name not in locked:
        yield Reason("never ran", "")
        return
    if stage.changed_stage():
        yield Reason("command", f"{locked[stage.name].get('cmd')} -> {stage.cmd}")
    record = read_record(Workspace(root), stage.name)
    made_by_stages = {out.fs_path for other in stage.repo.index.stages for out in other.outs}
    for dependency in stage.deps:
        if isinstance(dependency, ParamsDependency):
            yield from _changed_parameters(dependency)
        elif dependency.status():
            yield _changed_dependency(dependency, root, record, made_by_stages)
    for out in stage.outs:
        if state := next(iter(out.status().values()), ""):
            yield Reason("output", f"{out}: {state}{_content(out) if state == 'modified' else ''}")


def _changed_parameters(dependency: ParamsDependency) -> Iterator[Reason]:
    """Each parameter whose value is not that of dvc.lock."""
    old, new = flattened(dependency.hash_info.value or {}), flattened(dependency.read_params())
    for name in sorted(old.keys() | new.keys()):
        if (before := old.get(name, _ABSENT)) != (after := new.get(name, _ABSENT)):
            yield Reason("parameter", f"{name}: {before} -> {after}")


def _changed_dependency(dependency: Any, root: Path, record: StageRecord | None, outputs: set[str]) -> Reason:  # noqa: ANN401 - DVC's
    name, place = str(dependency), Path(dependency.fs_path)
    data = any(place.is_relative_to(output) for output in outputs)
    kind = "data" if data else "code" if _is_code(place) else "input"
    if not dependency.exists:
        return Reason(kind, f"{name}: {_ABSENT}")
    if data:
        return Reason(kind, f"{name}{_content(dependency)}")
    return Reason(kind, f"{name}{_details(_recorded(dependency, root / name, record))}")


def _is_code(place: Path) -> bool:
    return place.suffix == ".py" or any(place.glob("*.py"))


def _recorded(dependency: Any, place: Path, record: StageRecord | None) -> Sides | None:  # noqa: ANN401 - DVC's
    """Marks of the files then and now; None where the record is not that of the version in dvc.lock."""
    name = str(dependency)
    if record is None or name not in record.files or record.bytes[name] != dependency.meta.size:
        return None
    return record.files[name], marks(place)


def _content(entry: Any) -> str:  # noqa: ANN401 - DVC's output
    """Which files of a folder differ; nothing more is to be said of a single file."""
    return _details(_trees(entry)) if entry.hash_info.isdir else ""


def _trees(entry: Any) -> Sides | None:  # noqa: ANN401 - DVC's output
    """Checksums of the files in a folder then and now; None where the cache has no list of the former that can be read."""
    try:
        old = Tree.load(entry.cache, entry.hash_info, hash_name=entry.hash_name)
    except (OSError, ValueError, AttributeError, ObjectFormatError):
        return None
    _, _, new = build(entry.cache, entry.fs_path, entry.fs, entry.hash_name, ignore=entry.dvcignore, dry_run=True)
    return (_checksums(old), _checksums(new)) if isinstance(new, Tree) else None


def _checksums(tree: Tree) -> dict[str, str]:
    return {"/".join(key): str(checksum.value) for key, _, checksum in tree if checksum}


def _details(sides: Sides | None) -> str:
    """What differs between two listings, with the first names of each kind."""
    if sides is None:
        return ", which files is not known here"
    old, new = sides
    groups = {
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
    }
    parts = [f"{len(names)} {what} ({_few(names)})" for what, names in groups.items() if names]
    return f": {', '.join(parts)}" if parts else ", changed and back, or in what is not on record"


def _few(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
