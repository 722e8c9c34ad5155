"""The `train` stage: `accelerate launch` as a subprocess, in a process group of its own that ends when the stage does."""

import os
import re
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path

import torch

from stage.errors import StageFailedError, StageKilledError, StagePreemptedError, ViewforgeError
from stage.lifeline import tied
from stage.workspace import Workspace
from training.data.datasets import place_of
from training.data.streams import open_store
from training.forwarding import Forwarding
from training.parameters import TrainParameters
from training.preemption import ignore
from training.rendezvous import rendezvous

_MESSAGE = "viewforge: "
_REMEMBERED_LINES = 200
# What accelerate (one process), torch (several) and its loader (a worker, also in the middle of a step) say of one that a signal
# ended, and the last line of a Python traceback.
_KILLED = re.compile(r"(?:died with <Signals\.|Signal \d+ \(|DataLoader worker .* is killed by signal: )(\w+)")
_EXCEPTION = re.compile(r"^[\w.]*(Error|Exception)\b")
_VERBOSE = "VIEWFORGE_VERBOSE"


def train(parameters: TrainParameters, workspace: Workspace) -> None:
    """Train the system of a workspace.

    Reads the shard sets of `train.data`; writes `data/model/` and `data/training/`. The processes read `params.yaml` themselves.

    Raises:
        InputError: when there are no shards in a folder that should have some.
        StageFailedError: with the reason that the processes gave.
        StageKilledError: when a signal ended one of them.
        StagePreemptedError: when the stage or one of them was asked to stop by SIGTERM or SIGUSR1.
    """
    for dataset in parameters.data.datasets:
        if isinstance(folder := place_of(dataset, workspace.root), Path):
            open_store(folder).index()
    launch(parameters, "training.run", str(workspace.root))


def launch(parameters: TrainParameters, *program: str) -> None:
    """Run a module with arguments as the processes of a training, and wait for them.

    Raises:
        StageFailedError: with the reason that the processes gave.
        StageKilledError: when a signal ended one of them.
    """
    process = subprocess.Popen(
        tied(_command(parameters, *program)),
        stdout=sys.stderr,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **environment(parameters)},
        preexec_fn=ignore,
    )
    try:
        with Forwarding(process, parameters.launch.grace_seconds) as forwarding:
            last_lines = _relay(process)
            if process.wait():
                raise _preemption(forwarding, last_lines, parameters) or _failure(last_lines)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _command(parameters: TrainParameters, *program: str) -> list[str]:
    launch = parameters.launch
    # Despite its name --multi_gpu is what starts several processes; --cpu starts one, however many are asked for.
    kind = ["--multi_gpu"] if launch.processes > 1 else [] if _has_gpu() else ["--cpu"]
    return [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *(f"--num_processes={launch.processes}", f"--num_machines={launch.machines}"),
        *(f"--mixed_precision={launch.mixed_precision}", "--dynamo_backend=no"),
        *(*kind, *rendezvous(launch, os.environ)),
        # Tied before the seconds of imports: a trainer whose launcher died meanwhile would work on, unseen by the stage's lock.
        *("--module", "stage.lifeline", sys.executable, "-m", *program),
    ]


def _has_gpu() -> bool:
    return bool(torch.cuda.is_available())


def environment(parameters: TrainParameters) -> dict[str, str]:
    """Threads: the cores shared out to the processes, or fewer by OMP_NUM_THREADS; and which signals torch's agent answers.

    Idle ones spin for a moment and then sleep: asleep at once, as under a passive wait policy, each small operation pays for
    waking them, and spinning for long a busy machine stalls.
    """
    here = parameters.launch.processes // parameters.launch.machines
    cores = len(os.sched_getaffinity(0))
    threads = max(1, min(cores // here, _allowed_threads(cores)))
    # Torch's agent would answer SIGTERM by ending the trainers. Those that heed it, when another one has failed, are killed then.
    deaf = {"PET_SIGNALS_TO_HANDLE": "SIGINT,SIGHUP,SIGQUIT", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "10"}
    return {"OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "20000", "TQDM_DISABLE": "1", **deaf}


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
        # With several processes torch puts "[rank1]: " before it.
        shown = shown and (_VERBOSE in os.environ or "Traceback (most recent call last)" not in line)
        if shown and not line.startswith(_MESSAGE):
            sys.stderr.write(line)
        lines.append(line.rstrip())
    return lines


def _preemption(forwarding: Forwarding, lines: deque[str], parameters: TrainParameters) -> StagePreemptedError | None:
    """Why a stage that was asked to stop has no new checkpoint."""
    if not forwarding.asked or any(StagePreemptedError.PREEMPTED in line for line in lines):
        return None
    grace = f"{parameters.launch.grace_seconds:g} s"
    reason = f"no new checkpoint within {grace}" if forwarding.late else "training ended before a new checkpoint"
    return StagePreemptedError(
        reason, "run again: it goes on from the last one; train.launch.grace_seconds gives more time"
    )


def _failure(lines: deque[str]) -> ViewforgeError:
    """What the processes said: our own message, the signal that ended one, or else the exception's last line."""
    ours = [line.removeprefix(_MESSAGE) for line in lines if line.startswith(_MESSAGE)]
    killed = [match.group(1) for line in lines if (match := _KILLED.search(line))]
    if ours and ours[-1].startswith(StageKilledError.PREFIX):
        reason = ours[-1].removeprefix(StageKilledError.PREFIX)
        if reason.startswith(StagePreemptedError.PREEMPTED):
            return StagePreemptedError(reason.removeprefix(StagePreemptedError.PREEMPTED))
        return StageKilledError(reason)
    if ours:
        return StageFailedError(f"training failed: {ours[-1]}", "finished checkpoints are kept")
    if killed:
        return StageKilledError(
            f"a training process ended by {killed[-1]}", "run again: it continues from its checkpoint"
        )
    errors = [line for line in lines if _EXCEPTION.match(line)]
    reason = (errors or list(lines) or ["no message"])[0 if errors else -1]
    return StageFailedError(f"training failed: {reason}", "--verbose shows where; finished checkpoints are kept")
