"""A training that is asked to stop: real processes, asked at a moment when they stand still; the next attempt goes on."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from train_support import PATIENCE, checkpoints, line_with, processes_of, trainers, wait_until

from stage.errors import StageKilledError, StagePreemptedError
from stage.files import folder_sha256
from stage.workspace import Workspace

Trainable = Callable[..., Workspace]
Train = Callable[..., "subprocess.Popen[str]"]
STANDSTILL = Path(__file__).parents[1] / "faults" / "standstill"


def standing(workspace: Workspace, start: Train) -> "subprocess.Popen[str]":
    """A training that stands still in the middle of its second checkpoint, the one of step 4, until it is released."""
    process = start(
        workspace,
        PYTHONPATH=os.pathsep.join(filter(None, [str(STANDSTILL), os.environ.get("PYTHONPATH")])),
        STANDSTILL_PIECES=str(workspace.scratch / "training/*/checkpoints/step-*"),
        STANDSTILL_NOTE=str(workspace.root / "standing"),
        STANDSTILL_RELEASE=str(workspace.root / "released"),
    )
    wait_until(lambda: (workspace.root / "standing").exists() or process.poll() is not None)
    assert process.poll() is None
    return process


def ended(process: "subprocess.Popen[str]") -> list[str]:
    """The last lines of a training that ended as one that may be tried again."""
    _, errors = process.communicate(timeout=PATIENCE)
    print(errors)  # shown with a failure
    assert process.returncode == StagePreemptedError.EXIT_STATUS == 75
    assert "Traceback" not in errors
    lines = errors.splitlines()
    assert [line for line in lines if line.startswith("viewforge: ")] == lines[-1:]
    # By this start the pipeline knows what it may try again.
    assert lines[-1].startswith(f"viewforge: {StageKilledError.PREFIX}")
    return lines


def asked(process: "subprocess.Popen[str]", number: signal.Signals, workspace: Workspace) -> str:
    """Ask a training to stop, let it go on once its trainers know, and wait for its end; the last line."""
    process.send_signal(number)
    assert process.stderr is not None
    said = ""
    while "saving a checkpoint, for at most 30 s" not in said:
        said = process.stderr.readline()
        assert said, "it ended without a word"
    (workspace.root / "released").touch()
    last = ended(process)[-1]
    wait_until(lambda: not processes_of(workspace))
    return last


def test_asked_to_stop_it_finishes_its_step_saves_and_says_so(trainable: Trainable, start: Train) -> None:
    workspace = trainable(checkpoint_every=2)
    last = asked(standing(workspace, start), signal.SIGTERM, workspace)
    assert last.endswith("asked to stop: a checkpoint holds step 5 of 12; run again: it goes on there")
    assert max(path.name for path in checkpoints(workspace)) == "step-00000005"
    assert not workspace.model.exists()


@pytest.mark.slow
@pytest.mark.minutes(1.5)
@pytest.mark.parametrize(
    ("launch", "number"),
    [
        ({}, signal.SIGTERM),
        ({"processes": 2}, signal.SIGUSR1),
        ({"processes": 2, "sharding": "full"}, signal.SIGTERM),
    ],
)
def test_a_training_that_was_asked_to_stop_goes_on_to_the_same_bytes(
    trainable: Trainable, start: Train, finish: Callable[..., str], launch: dict[str, Any], number: signal.Signals
) -> None:
    undisturbed, stopped = (trainable(name, checkpoint_every=2, launch=launch) for name in ("undisturbed", "stopped"))
    assert "a checkpoint holds step 5 of 12" in asked(standing(stopped, start), number, stopped)
    finish(stopped)
    finish(undisturbed)
    for name in ("model", "training_report"):
        assert folder_sha256(getattr(stopped, name)) == folder_sha256(getattr(undisturbed, name))


@pytest.mark.slow
def test_all_processes_of_the_stage_may_get_the_signal(trainable: Trainable, start: Train) -> None:
    """As a scheduler does that signals whole jobs: accelerate and torch's agent do not end by it."""
    workspace = trainable(checkpoint_every=2, launch={"processes": 2})
    process = standing(workspace, start)
    (trainer, _) = trainers(workspace)
    os.killpg(os.getpgid(trainer.pid), signal.SIGTERM)
    (workspace.root / "released").touch()
    assert "a checkpoint holds step 5 of 12" in ended(process)[-1]


@pytest.mark.slow
def test_what_ends_before_it_has_saved_says_why(trainable: Trainable, start: Train) -> None:
    workspace = trainable(checkpoint_every=2)
    process = standing(workspace, start)
    process.send_signal(signal.SIGTERM)
    line_with(process, "saving a checkpoint")
    (trainer,) = trainers(workspace)
    trainer.kill()
    last = ended(process)[-1]
    assert "asked to stop: training ended before a new checkpoint: " in last
    assert "SIGKILL" in last
    assert "grace_seconds" not in last, "more time would not have helped"


@pytest.mark.slow
def test_what_does_not_save_in_time_is_killed(trainable: Trainable, start: Train) -> None:
    workspace = trainable(checkpoint_every=2, launch={"grace_seconds": 0.5})
    process = standing(workspace, start)
    process.send_signal(signal.SIGTERM)
    assert "no new checkpoint within 0.5 s; run again: it goes on from the last one" in ended(process)[-1]
    wait_until(lambda: not processes_of(workspace))
    assert [path.name for path in checkpoints(workspace)] == ["step-00000002"]
