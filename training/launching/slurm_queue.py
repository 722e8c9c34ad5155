"""Slurm's own commands, as far as a stage needs them: submit a training (by submitit), ask for its state, signal it."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from stage.errors import InputError, StageKilledError
from training.launching.slurm_job import run_machine
from training.parameters import TrainParameters

OVER: Final = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT"}
)
"""States of a job that ends; PREEMPTED is one more where it does not go back into the queue."""
PREEMPTED: Final = "PREEMPTED"
UNKNOWN: Final = "UNKNOWN"
"""Slurm answers, and knows no such job any more: it ended long ago, where there is no accounting."""
UNREACHABLE: Final = "UNREACHABLE"
"""Slurm does not answer; the job may run."""
# Slurm's words (slurm_errno.c) where the controller is away or overloaded: another attempt may find it.
_AWAY = ("Unable to contact slurm controller", "Socket timed out", "Zero Bytes were transmitted", "temporarily unable")
_NO_SUCH_JOB = "Invalid job id"
_SIGNAL = "USR1"


def name_of(root: Path) -> str:
    """The name of all jobs of a workspace, by which one is found whose number nobody noted.

    Args:
        root: of the workspace.
    """
    return f"viewforge-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]}"


def jobs_named(name: str) -> list[str] | None:
    """The numbers of the jobs of a name that wait or run; None where Slurm does not answer."""
    if shutil.which("squeue") is None:
        return []
    queued = _answer(["squeue", "--noheader", "--name", name, "--format", "%i"])
    return None if queued is None else queued.split()


def submit(parameters: TrainParameters, root: Path, folder: Path) -> str:
    """Submit the job of a training; its number.

    Args:
        parameters: the run, whose `launch.slurm` says what is asked for.
        root: of the workspace, on a disk that the machines share.
        folder: for the job's script, output and submitit's files; on that disk, too.

    Raises:
        InputError: when there is no Slurm or no submitit, or the job is refused.
        StageKilledError: when Slurm's controller is away.
    """
    # The signal before the end, which our processes heed; submitit reads it when it is imported, here and in the job.
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = _SIGNAL
    try:
        import submitit
    except ImportError:
        raise InputError("train.launch.slurm needs submitit", "pip install 'viewforge[slurm]'") from None
    try:
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=0)
        executor.update_parameters(**_asked(parameters), job_name=name_of(root))
        return str(executor.submit(run_machine, str(root)).job_id)
    except (RuntimeError, ValueError, submitit.core.utils.UncompletedJobError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        if any(words in str(error) for words in _AWAY):
            raise StageKilledError(f"Slurm's controller took no job: {reason}", "look at scontrol ping") from error
        raise InputError(f"Slurm takes no job: {reason}", "look at train.launch.slurm, and at sinfo") from error


def state_of(job: str) -> str:
    """What Slurm says of a job: RUNNING, COMPLETED and the like, UNKNOWN or UNREACHABLE."""
    # In all states, as there may be no accounting to ask about jobs that are over.
    queued = _answer(["squeue", "--noheader", "--states=all", "--jobs", job, "--format", "%T"])
    if queued:
        return queued.splitlines()[0].strip()
    from submitit.slurm.slurm import SlurmInfoWatcher

    told = _answer(["sacct", "-o", "JobID,State,NodeList", "--parsable2", "-j", job]) or ""
    # As in "CANCELLED by 1000".
    words = SlurmInfoWatcher().read_info(told).get(job, {}).get("State", "").split()
    return words[0] if words else UNREACHABLE if queued is None else UNKNOWN


def tell_to_stop(job: str) -> None:
    """Send the job's processes the signal to save a checkpoint and end."""
    subprocess.run(["scancel", f"--signal={_SIGNAL}", job], check=False)


def _answer(command: Sequence[str]) -> str | None:
    """The standard output of a command, empty for jobs long over; None where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if _NO_SUCH_JOB in done.stderr:
        return ""
    return done.stdout if done.returncode == 0 else None


def _asked(parameters: TrainParameters) -> dict[str, Any]:
    """What submitit is told."""
    launch, slurm = parameters.launch, parameters.launch.slurm
    assert slurm  # noqa: S101 - there is a job for that reason
    gpus = launch.processes // slurm.nodes if slurm.gpus_per_node is None else slurm.gpus_per_node
    asked = {
        "nodes": slurm.nodes,
        "ntasks_per_node": 1,
        "time": slurm.time_minutes,
        # Earlier than the processes need, as Slurm's own clock may be late by half a minute.
        "signal_delay_s": int(launch.grace_seconds) + 30,
        "stderr_to_stdout": True,
        "setup": slurm.setup or None,
        **{name: getattr(slurm, name) for name in ("partition", "account", "qos", "constraint", "cpus_per_task")},
        "mem": slurm.memory,
        "gpus_per_node": gpus or None,
        "additional_parameters": {**({"requeue": True} if slurm.requeue else {"no-requeue": True}), **slurm.extra},
    }
    return {name: value for name, value in asked.items() if value is not None}
