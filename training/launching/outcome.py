"""How the attempts at a training ended, for people and for programs: `scratch/launch/exit.json`, and a tag of the MLflow run."""

import json
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time

from stage.errors import StageKilledError, ViewforgeError
from stage.files import write_json
from stage.workspace import Workspace
from training.parameters import TrainParameters
from training.tracking.journals import note_tag

EXIT_REASON_TAG = "viewforge.exit_reason"


@dataclass(frozen=True)
class Outcome:
    """How the newest attempt ended."""

    kind: str
    """A word of `training.launching.exit_reason.Kind`; `finished` when the training is done."""
    message: str = ""
    """The error's line, remedy included."""
    may_pass: bool = False
    """Whether another attempt goes on."""
    attempt: int = 1
    """Of the stage, counted from 1."""
    machine: int = 0
    """Number of the machine that says so."""
    job: str | None = None
    """Slurm's job."""
    time: float = 0.0
    """Seconds since 1970."""


def launch_room(workspace: Workspace) -> Path:
    """Where what concerns the launch lies: heartbeats, outcomes, the logs of processes and jobs."""
    return workspace.scratch / "launch"


def outcome_file(workspace: Workspace, machine: int = 0) -> Path:
    """Where a machine's newest outcome lies; that of machine 0, or of the stage, is `exit.json`."""
    return launch_room(workspace) / (f"exit-{machine}.json" if machine else "exit.json")


def read_outcome(path: Path) -> Outcome | None:
    """An outcome; None where there is none yet."""
    with suppress(OSError, ValueError, TypeError):
        return Outcome(**json.loads(path.read_text()))
    return None


def write_outcome(workspace: Workspace, outcome: Outcome) -> None:
    """Put a machine's outcome in place of its last one."""
    write_json(outcome_file(workspace, outcome.machine), {**asdict(outcome), "time": round(time(), 3)})


def outcome_of(error: ViewforgeError, attempt: int, machine: int, job: str | None = None) -> Outcome:
    """An error as an outcome; what would pass and came too often is final, whatever its kind."""
    return Outcome(error.kind or "named", str(error), isinstance(error, StageKilledError), attempt, machine, job)


def record(
    workspace: Workspace, outcome: Outcome, parameters: TrainParameters, since: float, *, last: bool = True
) -> None:
    """Write an outcome, and tag the run that was under way with it; a disk that takes neither hides no reason.

    Args:
        workspace: whose.
        outcome: how an attempt ended.
        parameters: of the run.
        since: when the attempt began, in seconds since 1970.
        last: whether no attempt follows at once, which would deliver the tag.
    """
    hurried = not last or outcome.kind == "preempted"
    patience = 0.0 if hurried else parameters.tracking.patience_seconds
    try:
        write_outcome(workspace, outcome)
        if "mlflow" in parameters.tracking.trackers and not outcome.machine:
            note_tag(workspace, EXIT_REASON_TAG, outcome.kind, since, patience)
    except OSError as error:
        print(f"train: the exit reason {outcome.kind} is not written: {error}", file=sys.stderr, flush=True)
