"""The journals of a workspace: sending what is left of them, and forgetting old ones.

A training's lies in `scratch/tracking/<fingerprint>/`, a reconstruction's in `scratch/tracking/reconstruct/<run>/`.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from stage.errors import ViewforgeError
from stage.lifeline import exclusive_folder
from stage.secrets import redacted
from stage.workspace import Workspace
from training.tracking.journal import Journal

RECONSTRUCTIONS = "reconstruct"
# What a killed training leaves behind, as workers that read, may hold its journal for a moment.
_KILLED_SECONDS = 10.0
_JOURNALS = "*/journal.jsonl"


def journals_folder(workspace: Workspace) -> Path:
    """Where a workspace's journals lie, one folder a run."""
    return workspace.scratch / "tracking"


def journal_files(workspace: Workspace) -> list[Path]:
    """All journals of a workspace, those of trainings first."""
    folder = journals_folder(workspace)
    return [*sorted(folder.glob(_JOURNALS)), *sorted((folder / RECONSTRUCTIONS).glob(_JOURNALS))]


@dataclass(frozen=True)
class Flushed:
    """What became of a workspace's journals."""

    sent: int = 0
    """Runs of which the server now has everything, and had not before."""
    left: int = 0
    """Runs of which it has not."""
    running: int = 0
    """Runs that a training sends itself."""
    elsewhere: tuple[str, ...] = ()
    """What is meant for other servers: folder and address, in one line each."""


def flush(workspace: Workspace, patience: float, again: bool = False) -> Flushed:
    """Send what MLflow's server has not got of earlier trainings and reconstructions.

    Args:
        workspace: whose.
        patience: how many seconds a server that does not answer is waited for, for each run.
        again: whether all is sent anew, to a server that lost what it had; what it still has is there once.
    """
    outcome = Flushed()
    for folder in (path.parent for path in journal_files(workspace)):
        with _opened(folder) as journal:
            if journal is None:
                outcome = replace(outcome, running=outcome.running + 1)
                continue
            if again:
                journal.forget_deliveries()
            if not journal.complete:
                outcome = _sent(outcome, journal, workspace, patience)
    return outcome


def note_tag(workspace: Workspace, key: str, value: str, since: float, patience: float) -> None:
    """Tag the runs of trainings that are over, whose own processes can tell nothing more.

    Args:
        workspace: whose.
        key: of the tag.
        value: of the tag.
        since: runs whose journals were written after it, in seconds since 1970.
        patience: how many seconds the server is waited for; with 0 the run's next attempt sends it, or
            `viewforge tracking flush`.
    """
    for folder in _trainings(workspace):
        if (folder / "journal.jsonl").stat().st_mtime < since:
            continue
        with _opened(folder, _KILLED_SECONDS) as journal:
            if journal is not None:
                journal.append({"kind": "tags", "values": {key: value}})
                if patience:
                    _sent(Flushed(), journal, workspace, patience)


def forget_delivered(workspace: Workspace, kept: Path) -> None:
    """Delete the journals of trainings of which the server has everything, but for one."""
    for folder in _trainings(workspace):
        if folder != kept:
            with _opened(folder) as journal:
                complete = journal is not None and journal.complete
            if complete:
                shutil.rmtree(folder, ignore_errors=True)


def _trainings(workspace: Workspace) -> list[Path]:
    return sorted(path.parent for path in journals_folder(workspace).glob(_JOURNALS))


@contextmanager
def _opened(folder: Path, patience: float = 0.0) -> Iterator[Journal | None]:
    """A journal; None when a training writes it for longer than so many seconds."""
    lock = _lock(folder, time.monotonic() + patience)
    if lock is None:
        yield None
        return
    journal = Journal(folder)
    try:
        yield journal
    finally:
        journal.close()
        lock.__exit__(None, None, None)


def _lock(folder: Path, deadline: float) -> AbstractContextManager[None] | None:
    """The lock of a journal, entered; None when another process holds it until the deadline."""
    while True:
        lock = exclusive_folder(folder)
        try:
            lock.__enter__()
        except ViewforgeError:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.2)
        else:
            return lock


def _sent(outcome: Flushed, journal: Journal, workspace: Workspace, patience: float) -> Flushed:
    from training.tracking.mlflow_place import use_mlflow  # seconds, for nothing where all is sent
    from training.tracking.mlflow_run import drain_of

    place, meant = redacted(use_mlflow(workspace)), journal.entries()[0]["place"]
    if place != meant:
        return replace(outcome, elsewhere=(*outcome.elsewhere, f"{journal.folder} is meant for MLflow at {meant}"))
    if drain_of(journal, workspace).close(patience):
        return replace(outcome, sent=outcome.sent + 1)
    return replace(outcome, left=outcome.left + 1)
