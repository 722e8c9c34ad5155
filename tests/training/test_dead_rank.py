"""One of two real processes is killed, another one stopped: it is noticed and said, and training goes on to the same bytes."""

import signal
import subprocess
import time
from collections.abc import Callable

import psutil
import pytest
from mlflow.tracking import MlflowClient
from train_support import PATIENCE, checkpoints, line_with, processes_of, trainers, wait_until

from stage.files import folder_sha256
from stage.workspace import Workspace
from training.launching.outcome import outcome_file, read_outcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.minutes(1.5)]
Trainable = Callable[..., Workspace]
Train = Callable[..., "subprocess.Popen[str]"]
SILENCE = 8.0
RUN = {"steps": 120, "checkpoint_every": 20, "log_every": 60}
LAUNCH = {"processes": 2, "silence_seconds": SILENCE, "restarts": 2}


def reached(workspace: Workspace, process: "subprocess.Popen[str]", step: int) -> None:
    """Wait until a checkpoint of this step or a later one is there."""
    wait_until(
        lambda: (
            process.poll() is not None
            or any(int(path.name.removeprefix("step-")) >= step for path in checkpoints(workspace))
        )
    )
    assert process.poll() is None


def last_of(workspace: Workspace) -> psutil.Process:
    """The second process; the first one writes the checkpoints."""
    return next(one for one in trainers(workspace) if one.environ()["RANK"] == "1")


def test_killed_and_stopped_processes_are_noticed_and_training_ends_with_the_same_bytes(
    trained_once: Trainable, trainable: Trainable, start: Train
) -> None:
    undisturbed, workspace = trained_once(**RUN, launch=LAUNCH), trainable(**RUN, launch=LAUNCH)
    process = start(workspace)
    reached(workspace, process, 20)
    last_of(workspace).send_signal(signal.SIGKILL)
    killed = time.monotonic()
    said = line_with(process, "attempt 1 ended")
    assert "killed: a training process (rank 1) ended by SIGKILL" in said
    assert time.monotonic() - killed < 60
    wait_until(lambda: any(one.is_running() for one in trainers(workspace)))
    reached(workspace, process, 60)
    stopped = last_of(workspace)
    stopped.send_signal(signal.SIGSTOP)
    since = time.monotonic()
    said = line_with(process, "attempt 2 ended")
    assert time.monotonic() - since < 60
    assert "rank 1 on " in said
    assert f"(process {stopped.pid}, step " in said
    assert "has given no sign of life for" in said
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    wait_until(lambda: not processes_of(workspace))
    for name in ("model", "training_report"):
        assert folder_sha256(getattr(workspace, name)) == folder_sha256(getattr(undisturbed, name))
    outcome = read_outcome(outcome_file(workspace))
    assert outcome is not None
    assert (outcome.kind, outcome.attempt) == ("finished", 3)
    client = MlflowClient(f"sqlite:///{workspace.mlflow / 'mlflow.db'}")
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert run.data.tags["viewforge.exit_reason"] == "finished"
