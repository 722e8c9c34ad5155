"""A machine that goes away in the middle of a training and comes back: the other one waits for it, and both go on."""

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from train_support import PATIENCE, checkpoints, curve, line_with, processes_of, trainers, wait_until

from stage.workspace import Workspace
from training.launching.outcome import outcome_file, read_outcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
Trainable = Callable[..., Workspace]
Train = Callable[..., "subprocess.Popen[str]"]
STANDSTILL = Path(__file__).parents[1] / "faults" / "standstill"


def test_a_machine_that_is_started_again_alone_meets_the_other_at_its_next_attempt(
    trainable: Trainable, start: Train
) -> None:
    workspace = trainable(
        steps=60, checkpoint_every=10, launch={"processes": 2, "machines": 2}, tracking={"trackers": []}
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    machines = [start(workspace, NODE_RANK=str(number), **place) for number in range(2)]
    wait_until(lambda: checkpoints(workspace) or any(machine.poll() is not None for machine in machines))
    machines[1].kill()
    killed = time.monotonic()
    machines[1].communicate()
    said = line_with(machines[0], "attempt 1 ended")
    assert time.monotonic() - killed < 60
    assert "goes on from the last checkpoint" in said
    machines[1] = start(workspace, NODE_RANK="1", **place)
    for machine in machines:
        _, errors = machine.communicate(timeout=PATIENCE)
        assert machine.returncode == 0, errors
    for number in range(2):
        outcome = read_outcome(outcome_file(workspace, number))
        assert outcome is not None
        assert outcome.kind == "finished"
    assert [point.step for point in curve(workspace)] == list(range(1, 61))
    wait_until(lambda: not processes_of(workspace))


def test_nobody_leaves_before_the_model_is_there(trainable: Trainable, start: Train) -> None:
    """Else the one that makes it would find nobody to go on with, were it killed meanwhile."""
    workspace = trainable(launch={"processes": 2}, tracking={"trackers": []})
    (workspace.model.parent / f"{workspace.model.name} of before").mkdir(parents=True)
    process = start(
        workspace,
        PYTHONPATH=os.pathsep.join(filter(None, [str(STANDSTILL), os.environ.get("PYTHONPATH")])),
        STANDSTILL_PIECES=f"{workspace.model}*",
        STANDSTILL_NOTE=str(workspace.root / "standing"),
        STANDSTILL_RELEASE=str(workspace.root / "released"),
    )
    wait_until(lambda: (workspace.root / "standing").exists() or process.poll() is not None)
    time.sleep(15)
    assert {one.environ()["RANK"] for one in trainers(workspace)} == {"0", "1"}
    (workspace.root / "released").touch()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert workspace.model.exists()
