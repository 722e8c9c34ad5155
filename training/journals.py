"""The journals of a workspace, `scratch/tracking/<fingerprint>/`: sending what is left of them, and forgetting old ones."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stage.errors import InputError, ViewforgeError
from stage.lifeline import exclusive_folder
from stage.workspace import Workspace
from training.journal import Journal


def journals_folder(workspace: Workspace) -> Path:
    """Where a workspace's journals lie, one folder a run."""
    return workspace.scratch / "tracking"


@dataclass(frozen=True)
class Flushed:
    """What became of a workspace's journals."""

    sent: int = 0
    """Runs of which the server now has everything, and had not before."""
    left: int = 0
    """Runs of which it has not."""
    running: int = 0
    """Runs that a training sends itself."""


def flush(workspace: Workspace, patience: float, request_seconds: int) -> Flushed:
    """Send what MLflow's server has not got of earlier trainings.

    Args:
        workspace: whose.
        patience: how many seconds a server that does not answer is waited for, for each run.
        request_seconds: how long it may take to answer.

    Raises:
        InputError: when a journal is meant for another server than the one that the environment names.
    """
    sent = left = running = 0
    for folder in _folders(workspace):
        with _opened(folder) as journal:
            if journal is None:
                running += 1
            elif not journal.complete:
                done = _sent(journal, workspace, patience, request_seconds)
                sent, left = sent + done, left + (not done)
    return Flushed(sent, left, running)


def forget_delivered(workspace: Workspace, kept: Path) -> None:
    """Delete the journals of which the server has everything, but for one."""
    for folder in _folders(workspace):
        if folder != kept:
            with _opened(folder) as journal:
                complete = journal is not None and journal.complete
            if complete:
                shutil.rmtree(folder, ignore_errors=True)


def _folders(workspace: Workspace) -> list[Path]:
    return sorted(path.parent for path in journals_folder(workspace).glob("*/journal.jsonl"))


@contextmanager
def _opened(folder: Path) -> Iterator[Journal | None]:
    """A journal; None when a training writes it."""
    lock = exclusive_folder(folder)
    try:
        lock.__enter__()
    except ViewforgeError:
        yield None
        return
    journal = Journal(folder)
    try:
        yield journal
    finally:
        journal.close()
        lock.__exit__(None, None, None)


def _sent(journal: Journal, workspace: Workspace, patience: float, request_seconds: int) -> bool:
    from training.mlflow_place import use_mlflow, without_password
    from training.mlflow_run import drain_of

    place, meant = without_password(use_mlflow(workspace)), journal.entries()[0]["place"]
    if place != meant:
        raise InputError(
            f"{journal.folder} is meant for MLflow at {meant}, not {place}",
            "set MLFLOW_TRACKING_URI to it, or delete the folder",
        )
    return drain_of(journal, workspace, request_seconds).close(patience)
