"""Which job a stage waits for: its own, or one that an earlier stage left, and never two. Slurm is a few small scripts."""

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stage.errors import InputError, StageFailedError, StageKilledError
from stage.progress import PROGRESS_VARIABLE
from stage.workspace import Workspace
from training.data.index import INDEX
from training.launching.outcome import Outcome, launch_room, write_outcome
from training.launching.slurm import SlurmTraining, sha256_of
from training.launching.slurm_queue import name_of, state_of
from training.launching.slurm_state import JobNote, read_note, write_note
from training.parameters import TrainParameters

AWAY = "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
Cluster = Callable[..., None]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "workspace")
    made.root.mkdir()
    made.parameters.write_text(yaml.safe_dump({"seed": 7}))
    return made


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Puts small scripts under the names of Slurm's commands first on PATH."""
    monkeypatch.setattr("training.launching.slurm._LOOK_SECONDS", 0.01)

    def made(**scripts: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name, text in {"srun": "", "sacct": AWAY, "scancel": "", **scripts}.items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")

    return made


def run(**slurm: Any) -> TrainParameters:
    return TrainParameters.model_validate({"launch": {"slurm": {"poll_seconds": 0.01, **slurm}}})


def noted(workspace: Workspace, parameters: TrainParameters) -> Path:
    path = launch_room(workspace) / "slurm.json"
    write_note(path, JobNote("7", 1, sha256_of(parameters, workspace)))
    return path


def test_a_job_whose_number_nobody_noted_is_ended_before_another_one_is_submitted(
    workspace: Workspace, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage was killed between `sbatch` and its note."""
    asked, cancelled = tmp_path / "asked", tmp_path / "cancelled"
    named = f'*"--name {name_of(workspace.root)}"*) test -e {cancelled} || echo 7;;'
    seven = f'*"--jobs 7"*) test -e {cancelled} && echo CANCELLED || echo RUNNING;;'
    cluster(
        squeue=f'case "$*" in {named} {seven} *) echo COMPLETED;; esac',
        scancel=f"echo cancelled $1 >> {asked}; touch {cancelled}",
        sbatch=f"echo submitted >> {asked}; echo Submitted batch job 8",
    )
    progress = launch_room(workspace) / "progress.jsonl"
    progress.parent.mkdir(parents=True)
    progress.write_text('{"stage": "train", "done": 900}\n')
    monkeypatch.setenv(PROGRESS_VARIABLE, str(tmp_path / "progress"))
    with pytest.raises(StageFailedError, match="job 8 ended without saying why"):
        SlurmTraining(run(), workspace).run()
    assert asked.read_text().split("\n")[:2] == ["cancelled 7", "submitted"]
    note = read_note(launch_room(workspace) / "slurm.json")
    assert note is not None
    assert note.job == "8"
    assert not (tmp_path / "progress").exists(), "what an earlier training reached"


def test_a_job_that_cannot_be_noted_is_cancelled(
    workspace: Workspace, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("training.launching.slurm.write_note", full)
    cluster(squeue="", scancel=f"echo $1 > {tmp_path}/cancelled", sbatch="echo Submitted batch job 8")
    with pytest.raises(OSError, match="No space left"):
        SlurmTraining(run(), workspace).run()
    assert (tmp_path / "cancelled").read_text() == "8\n"


def test_a_cluster_that_does_not_answer_gets_no_second_job(
    workspace: Workspace, cluster: Cluster, tmp_path: Path
) -> None:
    submitted = tmp_path / "submitted"
    cluster(squeue=AWAY, sbatch=f"touch {submitted}; echo job 8")
    assert state_of("7") == "UNREACHABLE"
    with pytest.raises(InputError, match=f"squeue does not say whether a job of {workspace.root} runs"):
        SlurmTraining(run(), workspace).run()
    noted(workspace, run())
    with pytest.raises(InputError, match="squeue does not say whether job 7 of"):
        SlurmTraining(run(), workspace).run()
    assert not submitted.exists()


@pytest.mark.parametrize(
    ("kind", "may_pass"), [("finished", False), ("gpu_memory", False), ("killed", False), ("killed", True)]
)
@pytest.mark.parametrize("last", ["", "echo FAILED"])
def test_a_job_ends_as_its_machines_said(
    workspace: Workspace, cluster: Cluster, kind: str, may_pass: bool, last: str
) -> None:
    """Without accounting nobody knows of a job that is over for longer than a few minutes."""
    cluster(squeue=f"test -e $0.asked && {{ {last or 'true'}; }} || echo RUNNING; touch $0.asked")
    noted(workspace, run())
    write_outcome(workspace, Outcome(kind, "3 attempts in a row", may_pass, job="7"))
    training = SlurmTraining(run(), workspace)
    if kind == "finished":
        training.run()
    else:
        with pytest.raises(StageKilledError if may_pass else StageFailedError, match="3 attempts in a row"):
            training.run()


def test_a_job_that_was_preempted_is_followed_by_another_one(workspace: Workspace, cluster: Cluster) -> None:
    """Where it does not go back into the queue Slurm calls it so for ever."""
    cluster(
        squeue='case "$*" in *--name*) ;; *"--jobs 7"*) echo PREEMPTED;; *) echo COMPLETED;; esac',
        sbatch="echo Submitted batch job 8",
    )
    noted(workspace, run(requeue=False))
    with pytest.raises(StageFailedError, match="job 8 ended"):
        SlurmTraining(run(requeue=False), workspace).run()


def test_a_preemption_that_cancels_is_an_end_though_the_job_might_go_back(
    workspace: Workspace, cluster: Cluster
) -> None:
    cluster(squeue="test -e $0.asked && echo PREEMPTED || echo RUNNING; touch $0.asked")
    noted(workspace, run())
    with pytest.raises(StageKilledError, match="job 7 ended by PREEMPTED"):
        SlurmTraining(run(), workspace).run()


def test_a_job_that_an_earlier_stage_had_cancelled_is_no_end(workspace: Workspace, cluster: Cluster) -> None:
    """Its small process may come a moment after this stage has found the job."""
    note = noted(workspace, run())
    give_up = f"""sed -i 's/"cancelled": false/"cancelled": true/' {note}"""
    cluster(squeue=f"test -e $0.asked && {{ {give_up}; echo CANCELLED; }} || echo RUNNING; touch $0.asked")
    with pytest.raises(StageKilledError, match="job 7 was cancelled by the end of an earlier stage"):
        SlurmTraining(run(), workspace).run()


def test_a_job_that_somebody_cancelled_ends_the_stage(workspace: Workspace, cluster: Cluster) -> None:
    noted(workspace, run())
    cluster(squeue="test -e $0.asked && echo CANCELLED || echo RUNNING; touch $0.asked")
    with pytest.raises(StageFailedError, match="job 7 was cancelled"):
        SlurmTraining(run(), workspace).run()


def test_slurm_is_not_asked_all_the_time_about_a_job_that_waits(workspace: Workspace, cluster: Cluster) -> None:
    """Its machines have said that they were asked to stop, and it may wait for hours to go on."""
    asked = "echo >> $0.asked; case $(wc -l < $0.asked) in 1) echo RUNNING;; [2-5]) echo PENDING;; *) echo COMPLETED;; esac"
    cluster(squeue=asked)
    parameters = run(poll_seconds=0.3)
    noted(workspace, parameters)
    write_outcome(workspace, Outcome("preempted", "asked to stop", True, job="7"))
    since = time.monotonic()
    with pytest.raises(StageKilledError, match="asked to stop"):
        SlurmTraining(parameters, workspace).run()
    assert time.monotonic() - since > 4 * 0.3


def test_another_training_has_another_hash(workspace: Workspace) -> None:
    before = sha256_of(run(), workspace)
    assert sha256_of(run(), workspace) == before
    assert sha256_of(run(partition="other"), workspace) != before
    workspace.shards.mkdir(parents=True)
    (workspace.shards / INDEX).write_bytes(b"other objects")
    assert sha256_of(run(), workspace) != before
    (workspace.shards / INDEX).unlink()
    workspace.parameters.write_text(yaml.safe_dump({"seed": 8}))
    assert sha256_of(run(), workspace) != before
