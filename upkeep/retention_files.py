"""Old files of a workspace: scratch, kept predictions, logs of services.

Work in `scratch/` that is done only saves time when a stage runs again, so its age decides. Work that is not done stays.
"""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from registry.lineage import read_provenance
from stage.errors import InputError
from stage.workspace import Workspace
from upkeep.retention_item import SECONDS_A_DAY, Item, newest_change, size_of
from upkeep.retention_parameters import RetentionParameters

# Rooms of stages by the output that has what is finished of them, and rooms of what is made or fetched again when it is wanted.
# Whatever else lies in scratch stays: downloaded assets, which no stage fetches while the catalogue is fresh, locks, records of
# stages' last runs, journals and runs of wandb that wait for their servers, and what a person put there.
_STAGES = {
    "catalog": "catalog",
    "renders": "renders",
    "splatters": "splatters",
    "splatters_refined": "splatters",
    "shards": "shards",
}
_ANEW = {"evaluation", "kept", "preview", "promotion", "scene_indices", "shard_cache", "training", "view"}
_TEMPORARY = ("measure-", "verify-")
_TRAINING = "training"
# As `training.run` names a training's folder, by the start of its fingerprint.
_NAME = 16
_PREDICTIONS = {"predictions", "made"}
_LEFT = ".collected"
_OLDER_LOG = re.compile(r"\.log\.\d+$")


class ScratchCollector:
    """Folders of `scratch/` that nobody touched for long.

    Args:
        place: whose.
        parameters: how long that is.
    """

    def __init__(self, place: Workspace, parameters: RetentionParameters) -> None:
        self._place, self._parameters = place, parameters

    def find(self) -> Iterator[Item]:
        """Old folders, and what a killed deletion left."""
        for path in self._folders():
            name = path.relative_to(self._place.root).as_posix()
            predictions = path.parent.name == "evaluation" and path.name in _PREDICTIONS
            kind = "predictions" if predictions else "scratch"
            days = self._parameters.predictions_days if predictions else self._parameters.scratch_days
            if path.name.endswith(_LEFT):
                yield Item(kind, name, size_of(path), "left of a deletion that was killed")
            elif newest_change(path) < time.time() - days * SECONDS_A_DAY:
                yield Item(kind, name, size_of(path), f"not touched for {days} days")

    def delete(self, item: Item) -> None:
        """Delete it; under another name first, so that what a kill leaves is not taken for whole."""
        path = self._place.root / item.name
        if not path.name.endswith(_LEFT):
            hidden = path.with_name(f".{path.name}{_LEFT}")
            shutil.rmtree(hidden, ignore_errors=True)
            path = path.rename(hidden)
        shutil.rmtree(path)

    def _folders(self) -> Iterator[Path]:
        """Those of each stage; of the evaluation its parts, and of trainings those that are done."""
        scratch = self._place.scratch
        for path in sorted(scratch.iterdir()) if scratch.is_dir() else ():
            if path.is_dir() and not path.is_symlink() and self._is_spare(path.name):
                parts = path.name in ("evaluation", _TRAINING)
                yield from sorted(filter(self._may_go, path.iterdir())) if parts else [path]

    def _is_spare(self, name: str) -> bool:
        """Whether a room's work is done, or made again; that of a stage without an output goes on from what is there."""
        if name in _STAGES:
            return (self._place.root / "data" / _STAGES[name]).is_dir()
        return name in _ANEW or name.startswith(_TEMPORARY) or name.endswith(_LEFT)

    def _may_go(self, part: Path) -> bool:
        """A training that is not done goes on from its checkpoint, however long it waits; the next one that is done ends it."""
        if not part.is_dir() or part.is_symlink():
            return False
        return part.parent.name != _TRAINING or part.name.endswith(_LEFT) or part.name == self._trained

    @cached_property
    def _trained(self) -> str:
        """The folder's name of the training that made the present model; empty where there is none."""
        with suppress(InputError):
            return str(read_provenance(self._place).get("fingerprint", ""))[:_NAME]
        return ""


class LogCollector:
    """Older logs of services; the ones that are written now have no number.

    Args:
        place: whose.
        parameters: how long they are kept.
    """

    def __init__(self, place: Workspace, parameters: RetentionParameters) -> None:
        self._place, self._days = place, parameters.logs_days

    def find(self) -> Iterator[Item]:
        """Logs that were closed long ago."""
        before = time.time() - self._days * SECONDS_A_DAY
        for path in sorted((self._place.root / ".services").glob("*.log.*")):
            if _OLDER_LOG.search(path.name) and newest_change(path) < before:
                name = path.relative_to(self._place.root).as_posix()
                yield Item("log", name, size_of(path), f"older than {self._days} days")

    def delete(self, item: Item) -> None:
        """Delete it."""
        (self._place.root / item.name).unlink(missing_ok=True)
