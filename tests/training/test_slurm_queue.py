"""What Slurm is asked for and what its answers mean, without a job that trains."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fake_slurm
import pytest

from stage.errors import InputError, ParameterError, StageFailedError, StageKilledError
from stage.parameters import validated
from training.launching.canceller import cancel
from training.launching.followed_files import FollowedFiles
from training.launching.slurm import job_error
from training.launching.slurm_job import placed
from training.launching.slurm_queue import name_of, state_of, submit
from training.launching.slurm_state import JobNote, read_note, write_note
from training.parameters import TrainParameters
from training.rendezvous import rendezvous


def run(processes: int = 4, **slurm: Any) -> TrainParameters:
    return TrainParameters.model_validate(
        {"launch": {"processes": processes, "grace_seconds": 90, "slurm": slurm}, "system": "zeronvs"}
    )


def commands(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Put small scripts under the names of Slurm's commands first on PATH."""
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: TrainParameters) -> list[str]:
    """The lines of the script that is submitted."""
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "")
    commands(tmp_path, monkeypatch, srun="", sbatch=f"cp $1 {tmp_path}/script; echo Submitted batch job 4711")
    (tmp_path / "jobs").mkdir()
    assert submit(parameters, tmp_path, tmp_path / "jobs") == "4711"
    return (tmp_path / "script").read_text().splitlines()


def test_the_script_asks_for_what_the_parameters_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"partition": "gpu", "account": "team", "qos": "high", "constraint": "a100", "cpus_per_task": 12}
    more = {"memory": "120G", "time_minutes": 90, "setup": ["module load cuda"], "extra": {"exclude": "node7"}}
    lines = submitted(tmp_path, monkeypatch, run(nodes=2, **asked, **more))
    flags = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert flags >= {
        *("nodes=2", "ntasks-per-node=1", "gpus-per-node=2", "partition=gpu", "account=team", "qos=high"),
        *("constraint=a100", "cpus-per-task=12", "mem=120G", "time=90", "exclude=node7", "requeue"),
        *(f"job-name={name_of(tmp_path)}", "open-mode=append", "signal=USR1@120"),
    }
    assert "module load cuda" in lines


def test_a_job_that_does_not_go_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = submitted(tmp_path, monkeypatch, run(nodes=4, gpus_per_node=0, requeue=False))
    assert "#SBATCH --no-requeue" in lines
    assert not any("gpus" in line for line in lines)


def test_a_controller_that_is_away_may_be_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    away = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
    commands(tmp_path, monkeypatch, srun="", sbatch=f"echo '{away}' >&2; exit 1")
    with pytest.raises(StageKilledError, match="controller took no job"):
        submit(run(), tmp_path, tmp_path / "jobs")


def test_without_slurm_or_when_it_refuses_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    with pytest.raises(InputError, match=r"Slurm takes no job: .*srun"):
        submit(run(), tmp_path, tmp_path / "jobs")
    refusal = "sbatch: error: invalid partition specified: gpux"
    commands(tmp_path, monkeypatch, srun="", sbatch=f"echo '{refusal}' >&2; exit 1")
    with pytest.raises(InputError, match=f"Slurm takes no job: .*{refusal}.*; look at train.launch.slurm"):
        submit(run(), tmp_path, tmp_path / "jobs")


@pytest.mark.parametrize(
    ("launch", "message"),
    [
        ({"processes": 3, "slurm": {"nodes": 2}}, "processes = 3 cannot be shared by slurm.nodes = 2"),
        (
            {"processes": 4, "machines": 4, "slurm": {"nodes": 2}},
            "machines = 4 beside slurm.nodes = 2; leave machines out",
        ),
    ],
)
def test_processes_that_cannot_be_shared_are_refused(launch: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        validated(TrainParameters, {"launch": launch}, "params.yaml: train")


def test_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fake_slurm.install(tmp_path).items():
        monkeypatch.setenv(name, value)
    for state, known in (("RUNNING", "RUNNING"), ("CANCELLED", "CANCELLED"), ("NODE_FAIL", "NODE_FAIL")):
        (tmp_path / "jobs" / "7.json").write_text(json.dumps({"job": "7", "state": state}))
        assert state_of("7") == known
    assert state_of("8") == "UNKNOWN"


@pytest.mark.parametrize(
    ("state", "error", "kind"),
    [
        ("OUT_OF_MEMORY", StageFailedError, "host_memory"),
        ("CANCELLED", StageFailedError, "cancelled"),
        ("FAILED", StageFailedError, "error"),
        ("NODE_FAIL", StageKilledError, "killed"),
        ("TIMEOUT", StageKilledError, "killed"),
        ("PREEMPTED", StageKilledError, "killed"),
    ],
)
def test_what_a_job_ended_of_that_said_nothing(state: str, error: type[Exception], kind: str) -> None:
    told = job_error("7", state)
    assert type(told) is error
    assert told.kind == kind
    assert "job 7" in str(told)


def test_files_are_followed_line_by_line(tmp_path: Path) -> None:
    followed = FollowedFiles(tmp_path, "*.out")
    path = tmp_path / "1.out"
    path.write_text("one\ntw")
    assert [line for _, line in followed.lines()] == ["one"]
    path.write_text("one\ntwo\nthree\n")
    assert list(followed.lines()) == [(path, "two"), (path, "three")]
    path.write_text("anew\n")
    assert [line for _, line in followed.lines()] == ["anew"]
    (tmp_path / "0.out").mkdir()
    path.write_text("anew\nmore\n")
    assert [line for _, line in followed.lines()] == ["more"], "what cannot be read holds nothing up"


def test_a_note_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "slurm.json"
    assert read_note(path) is None
    write_note(path, JobNote("7", 2, "abc"))
    assert read_note(path) == JobNote("7", 2, "abc")
    path.write_text("{")
    assert read_note(path) is None


HOLDER = """
import sys, time
from pathlib import Path
from training.launching.canceller import Canceller
with Canceller("7", Path(sys.argv[1])):
    print("up", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT, None])
def test_a_job_is_cancelled_when_its_stage_is_killed_and_not_when_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: signal.Signals | None
) -> None:
    killed = by is not None
    commands(tmp_path, monkeypatch, scancel=f"echo $1 > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/cancelled")
    note = tmp_path / "slurm.json"
    write_note(note, JobNote("7", 1, "abc"))
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(note), "600" if killed else "0"],
        stdout=subprocess.PIPE,
        start_new_session=True,
        # A shell starts background processes with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    if by:
        os.killpg(process.pid, by)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while killed and not (tmp_path / "cancelled").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (tmp_path / "cancelled").exists() == killed
    noted = read_note(note)
    assert noted is not None
    assert noted.cancelled == killed


def test_a_full_disk_keeps_no_job_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("training.launching.canceller.give_up", full)
    commands(tmp_path, monkeypatch, scancel=f"echo $1 > {tmp_path}/cancelled")
    cancel("7", tmp_path / "slurm.json")
    assert (tmp_path / "cancelled").read_text() == "7\n"


def test_a_machine_of_a_job_is_where_the_job_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sbatch` hands on the variables of the shell in which the stage runs, which may be a machine of another launch."""
    told = {"NODE_RANK": "0", "PET_MASTER_ADDR": "login", "SLURM_NODEID": "0"}
    parameters = placed(run(nodes=2, gpus_per_node=0), 1, "node-3", "4711")
    options = set(rendezvous(parameters.launch, told))
    assert {"--machine_rank=1", "--main_process_ip=node-3", "--main_process_port=24711"} <= options
    ports = {placed(run(nodes=2), 0, "node-3", str(job)).launch.main_port for job in range(0, 60000, 7)}
    assert max(port or 0 for port in ports) < 32768, "Linux gives those above to outgoing connections"
    monkeypatch.setenv("MASTER_PORT", "4000")
    assert placed(run(nodes=2), 0, "node-3", "4711").launch.main_port == 4000
