"""What a job of Slurm runs on each of its machines: this machine's processes of the training.

The machines find one another by the job's list of nodes. A job that was told to stop saves a checkpoint and goes back into the
queue, unless its stage gave it up.
"""

import os
import subprocess
import sys
from pathlib import Path

from stage.errors import StagePreemptedError, ViewforgeError
from stage.progress import PROGRESS_VARIABLE
from stage.workspace import Workspace
from training.launching.outcome import launch_room
from training.launching.slurm_state import read_note
from training.parameters import TrainParameters, load_training

JOB_NOTE = "slurm.json"
PROGRESS = "progress.jsonl"
# Below those that Linux gives to outgoing connections.
_FIRST_PORT, _PORTS = 20000, 12000


def run_machine(root: str) -> None:
    """Train on this machine of a job.

    Args:
        root: of the workspace.

    Raises:
        SystemExit: with the status of the training's error, so that Slurm counts the job as failed.
    """
    from submitit import JobEnvironment

    job = JobEnvironment()
    workspace = Workspace(Path(root))
    parameters = load_training(workspace)
    parameters = placed(parameters, job.global_rank, job.hostnames[0], job.raw_job_id)
    os.environ[PROGRESS_VARIABLE] = str(launch_room(workspace) / PROGRESS)
    try:
        _train(parameters, workspace, job.job_id)
    except ViewforgeError as error:
        print(f"viewforge: {error}", file=sys.stderr, flush=True)
        if (
            isinstance(error, StagePreemptedError)
            and job.global_rank == 0
            and _goes_back(parameters, workspace, job.job_id)
        ):
            subprocess.run(["scontrol", "requeue", job.raw_job_id], check=False)
        sys.exit(error.EXIT_STATUS)


def _train(parameters: TrainParameters, workspace: Workspace, job: str) -> None:
    from training.launch import train_on_machine  # which knows of jobs

    train_on_machine(parameters, workspace, job)


def placed(parameters: TrainParameters, machine: int, host: str, job: str) -> TrainParameters:
    """The parameters of one of a job's machines, whatever the variables say that it was submitted with.

    Args:
        parameters: the run.
        machine: its number.
        host: the first machine, where all meet.
        job: the job's number, which decides on a port that other jobs there do not take, unless `main_port` or MASTER_PORT does.
    """
    launch = parameters.launch
    port = launch.main_port or int(os.environ.get("MASTER_PORT") or _FIRST_PORT + int(job) % _PORTS)
    nodes = launch.slurm.nodes if launch.slurm else launch.machines
    place = {"machines": nodes, "machine_rank": machine, "main_address": host, "main_port": port}
    return parameters.model_copy(update={"launch": launch.model_copy(update=place)})


def _goes_back(parameters: TrainParameters, workspace: Workspace, job: str) -> bool:
    """Whether the job goes on later: the stage still waits for it."""
    note = read_note(launch_room(workspace) / JOB_NOTE)
    slurm = parameters.launch.slurm
    return bool(slurm and slurm.requeue and note and note.job == job and not note.cancelled)
