"""The `train` stage: `accelerate launch` as a subprocess, in a process group of its own that ends when the stage does.

Where the processes run is `train.launch`: on this machine, on several that each run the stage, or in a job of Slurm
(docs/launching.md).
"""

import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path

import torch

from stage.errors import StagePreemptedError
from stage.lifeline import tied
from stage.workspace import Workspace
from training.data.datasets import place_of
from training.data.streams import open_store
from training.forwarding import Forwarding
from training.launching.attempts import Attempts
from training.launching.evidence import oom_kills
from training.launching.exit_reason import MESSAGE, ExitReason, exit_reason
from training.launching.meetings import Meeting, Meetings
from training.launching.outcome import launch_room, outcome_file
from training.launching.watch import Watch
from training.parameters import TrainParameters
from training.preemption import ignore
from training.rendezvous import machine_rank, rendezvous

_REMEMBERED_LINES = 2000
_VERBOSE = "VIEWFORGE_VERBOSE"


def train(parameters: TrainParameters, workspace: Workspace) -> None:
    """Train the system of a workspace.

    Reads the shard sets of `train.data`; writes `data/model/` and `data/training/`, and to `scratch/launch/exit.json` how it
    ended. The processes read `params.yaml` themselves.

    Raises:
        InputError: when there are no shards in a folder that should have some, or Slurm takes no job.
        StageFailedError: with the reason that the processes gave, or what they ended of.
        StageKilledError: when a signal ended one of them or it fell silent, as often as `train.launch.restarts` allows.
        StagePreemptedError: when the stage or one of them was asked to stop by SIGTERM or SIGUSR1.
    """
    for dataset in parameters.data.datasets:
        if isinstance(folder := place_of(dataset, workspace.root), Path):
            open_store(folder).index()
    if parameters.launch.slurm is None:
        train_on_machine(parameters, workspace)
        return
    from training.launching.slurm import train_by_slurm  # with submitit, which is an extra

    train_by_slurm(parameters, workspace)


def train_on_machine(parameters: TrainParameters, workspace: Workspace, job: str | None = None) -> None:
    """Run this machine's processes of a training, and again from the last checkpoint after what may pass; raises as `train`."""
    program = ("training.run", str(workspace.root))
    machine = machine_rank(parameters.launch, os.environ)
    outcome_file(workspace, machine).unlink(missing_ok=True)
    for left in launch_room(workspace).glob(f"beats/*/machine-{machine}"):
        shutil.rmtree(left, ignore_errors=True)
    attempts = Attempts(parameters, workspace, machine, job)
    meetings = Meetings(launch_room(workspace), machine, parameters.launch.machines, attempts.heed_others)

    def attempt(number: int) -> None:
        with meetings.at(number) as meeting:
            launch(parameters, launch_room(workspace), program, meeting)

    attempts.run(attempt)


def launch(parameters: TrainParameters, room: Path, program: tuple[str, ...], meeting: Meeting | None = None) -> None:
    """Run a module with arguments as the processes of a training, and wait for them.

    Args:
        parameters: the run.
        room: for heartbeats and logs, the same on all machines.
        program: the module and its arguments.
        meeting: where its processes find those of other machines.

    Raises:
        StageFailedError: with the reason that the processes gave.
        StageKilledError: when a signal ended one of them, or it fell silent.
        StagePreemptedError: when this process or one of them was asked to stop.
    """
    machine, meeting = machine_rank(parameters.launch, os.environ), meeting or Meeting()
    # Those of an attempt stay beside those of the next: a machine that still is at the earlier one hears that they are silent.
    watch = Watch(parameters.launch, room / "beats" / f"attempt-{meeting.attempt}", machine)
    killed_before = oom_kills()
    process = subprocess.Popen(
        tied(_command(parameters, _emptied(room / "logs" / f"machine-{machine}"), program)),
        stdout=sys.stderr,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        env={**os.environ, **environment(parameters, meeting), **watch.environment()},
        preexec_fn=ignore,
    )
    try:
        with Forwarding(process, parameters.launch.grace_seconds) as forwarding, watch.over(process.pid):
            last_lines = _relay(process)
            if process.wait():
                reason = exit_reason(last_lines, parameters, watch.verdict, oom_kills() - killed_before)
                raise _preemption(forwarding, last_lines, reason, parameters) or reason.error()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    # A network disk keeps a folder in which somebody reads a file.
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _command(parameters: TrainParameters, logs: Path, program: tuple[str, ...]) -> list[str]:
    launch = parameters.launch
    # Despite its name --multi_gpu is what starts several processes; --cpu starts one, however many are asked for.
    kind = ["--multi_gpu"] if launch.processes > 1 else [] if _has_gpu() else ["--cpu"]
    return [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *(f"--num_processes={launch.processes}", f"--num_machines={launch.machines}"),
        *(f"--mixed_precision={launch.mixed_precision}", "--dynamo_backend=no"),
        *(*kind, *rendezvous(launch, os.environ)),
        # Of several processes each line tells whose it is, and each process keeps its own.
        *(("--tee=3", f"--log_dir={logs}") if launch.processes > 1 else ()),
        # Tied before the seconds of imports: a trainer whose launcher died meanwhile would work on, unseen by the stage's lock.
        *("--module", "stage.lifeline", sys.executable, "-m", *program),
    ]


def _has_gpu() -> bool:
    return bool(torch.cuda.is_available())


def environment(parameters: TrainParameters, meeting: Meeting | None = None) -> dict[str, str]:
    """Threads: the cores shared out to the processes, or fewer by OMP_NUM_THREADS; and how torch's agent behaves.

    Idle ones spin for a moment and then sleep: asleep at once, as under a passive wait policy, each small operation pays for
    waking them, and spinning for long a busy machine stalls.
    """
    here = parameters.launch.processes // parameters.launch.machines
    cores = len(os.sched_getaffinity(0))
    threads = max(1, min(cores // here, _allowed_threads(cores)))
    # Torch's agent would answer SIGTERM by ending the trainers.
    deaf = {"PET_SIGNALS_TO_HANDLE": "SIGINT,SIGHUP,SIGQUIT"}
    # Machines that are at different attempts do not meet, and wait for one another.
    name = (meeting or Meeting()).name
    named = {"PET_RDZV_ID": f"viewforge-{name}", "TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": "[rank${rank}]: "}
    return {"OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "20000", "TQDM_DISABLE": "1", **deaf, **named}


def _allowed_threads(cores: int) -> int:
    """What OMP_NUM_THREADS says, which may list a number for each level of nesting; all cores where it says nothing."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(said) if said.isdigit() else cores


def _relay(process: "subprocess.Popen[str]") -> deque[str]:
    """Pass standard error on as it comes, tracebacks only when asked for; its last lines."""
    assert process.stderr is not None  # noqa: S101 - asked for above
    lines: deque[str] = deque(maxlen=_REMEMBERED_LINES)
    shown = True
    for line in process.stderr:
        shown = shown and (_VERBOSE in os.environ or "Traceback (most recent call last)" not in line)
        if shown and MESSAGE not in line:
            sys.stderr.write(line)
        lines.append(line.rstrip())
    return lines


def _preemption(
    forwarding: Forwarding, lines: deque[str], why: ExitReason, parameters: TrainParameters
) -> StagePreemptedError | None:
    """Why a stage that was asked to stop has no new checkpoint."""
    if not forwarding.asked or any(StagePreemptedError.PREEMPTED in line for line in lines):
        return None
    grace = f"{parameters.launch.grace_seconds:g} s"
    if forwarding.late:
        reason = f"no new checkpoint within {grace}"
        remedy = "run again: it goes on from the last one; train.launch.grace_seconds gives more time"
    else:
        reason = f"training ended before a new checkpoint: {why.message}"
        remedy = "run again: it goes on from the last one"
    return StagePreemptedError(reason, remedy)
