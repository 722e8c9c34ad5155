"""A training in jobs of Slurm, played by local processes: two machines of one process each, from `viewforge train` to its end."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_slurm
import psutil
import pytest
from train_support import PATIENCE, checkpoints, curve, line_with, processes_of, wait_until

from stage.workspace import Workspace
from training.launching.outcome import outcome_file, read_outcome

# A job's number decides where its machines meet: of two clusters' jobs 101 on one machine one would wait for ever.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.minutes(2), pytest.mark.xdist_group("jobs 101")]
Trainable = Callable[..., Workspace]
Train = Callable[..., "subprocess.Popen[str]"]
LAUNCH = {"processes": 2, "slurm": {"nodes": 2, "gpus_per_node": 0, "memory": "4G", "poll_seconds": 1}}


@pytest.fixture
def slurm(tmp_path: Path, program_environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """A cluster of one machine; the environment in which it is found. Jobs that still run at the end are killed."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    yield {**fake_slurm.install(folder), "SLURM_FOLDER": str(folder)}
    fake_slurm.end_all(folder)


def jobs(slurm: dict[str, str]) -> list[dict[str, object]]:
    return fake_slurm.jobs(Path(slurm["SLURM_FOLDER"]))


def cancellers(workspace: Workspace) -> list[psutil.Process]:
    note = str(workspace.scratch / "launch" / "slurm.json")
    return [p for p in psutil.process_iter(["cmdline"]) if note in (p.info["cmdline"] or [])]


def test_a_stage_waits_for_its_job_finds_it_again_and_survives_a_preemption(
    trainable: Trainable, start: Train, slurm: dict[str, str]
) -> None:
    workspace = trainable(steps=60, checkpoint_every=10, launch=LAUNCH)
    first = start(workspace, **slurm)
    line_with(first, "submitted job 101")
    # The stage's machine goes away, and with it what would cancel the job.
    wait_until(lambda: cancellers(workspace))
    for process in (*cancellers(workspace), psutil.Process(first.pid)):
        process.kill()
    first.wait()
    progress = workspace.root / "progress.jsonl"
    second = start(workspace, **slurm, VIEWFORGE_PROGRESS=str(progress))
    line_with(second, "goes on waiting for job 101")
    wait_until(lambda: checkpoints(workspace))
    subprocess.run(["scancel", "--signal=USR1", "101"], env={**os.environ, **slurm}, check=True)
    _, errors = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0, errors
    (job,) = jobs(slurm)
    assert (job["state"], job["starts"]) == ("COMPLETED", 2)
    assert "[machine 1] " in errors
    for machine in range(2):
        outcome = read_outcome(outcome_file(workspace, machine))
        assert outcome is not None
        assert outcome.kind == "finished"
    assert [point.step for point in curve(workspace)] == list(range(1, 61))
    assert json.loads(progress.read_text().splitlines()[-1])["done"] == 60
    assert not processes_of(workspace)


def test_a_stage_that_is_killed_cancels_its_job_and_one_that_is_asked_to_stop_saves(
    trainable: Trainable, start: Train, slurm: dict[str, str]
) -> None:
    workspace = trainable(steps=4000, checkpoint_every=10, launch=LAUNCH)
    killed = start(workspace, **slurm)
    wait_until(lambda: checkpoints(workspace))
    killed.send_signal(signal.SIGKILL)
    wait_until(lambda: not processes_of(workspace))
    assert [job["state"] for job in jobs(slurm)] == ["CANCELLED"]
    before = max(path.name for path in checkpoints(workspace))
    asked = start(workspace, **slurm)
    line_with(asked, "submitted job 102")
    wait_until(lambda: max(path.name for path in checkpoints(workspace)) > before)
    asked.send_signal(signal.SIGTERM)
    _, errors = asked.communicate(timeout=PATIENCE)
    assert asked.returncode == 75, errors
    last = errors.splitlines()[-1]
    assert last.startswith("viewforge: killed: asked to stop: a checkpoint holds step ")
    assert last.endswith("of 4000; run again: it goes on there")
    wait_until(lambda: not processes_of(workspace))
    assert [job["state"] for job in jobs(slurm)] == ["CANCELLED", "FAILED"]
    assert [job["starts"] for job in jobs(slurm)] == [1, 1], "neither went back into the queue"
