"""Old files of a workspace: scratch, kept predictions, logs of services.

`scratch/` only saves work when a stage runs again, so its age alone decides. What is not yet sent to a tracking server is no
scratch.
"""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from stage.workspace import Workspace
from upkeep.retention_item import SECONDS_A_DAY, Item, newest_change, size_of
from upkeep.retention_parameters import RetentionParameters

# Locks hold no bytes; journals, and wandb's runs that were made offline, may wait for their servers.
_KEPT = {"locks", "tracking", "wandb", "tensorboard"}
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
        """Those of each stage; of the evaluation's its parts."""
        scratch = self._place.scratch
        for path in sorted(scratch.iterdir()) if scratch.is_dir() else ():
            if path.is_dir() and not path.is_symlink() and path.name not in _KEPT:
                parts = path.name == "evaluation"
                yield from sorted(part for part in path.iterdir() if part.is_dir()) if parts else [path]


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
