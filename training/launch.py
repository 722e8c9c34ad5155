"""The `train` stage: `accelerate launch` as a subprocess, in a process group of its own that ends when the stage does."""

import os
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress

import torch

from stage.errors import StageFailedError
from stage.lifeline import tied
from stage.workspace import Workspace
from training.data.index import read_index
from training.parameters import TrainParameters

_MESSAGE = "viewforge: "
_REMEMBERED_LINES = 200
_VERBOSE = "VIEWFORGE_VERBOSE"


def train(parameters: TrainParameters, workspace: Workspace) -> None:
    """Train the system of a workspace.

    Reads `data/shards/`; writes `data/model/` and `data/training/`. The processes read `params.yaml` themselves.

    Raises:
        InputError: when there are no shards.
        StageFailedError: with the reason that the processes gave.
    """
    read_index(workspace.shards)
    process = subprocess.Popen(
        tied(_command(parameters, workspace)),
        stdout=sys.stderr,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **_environment(parameters)},
    )
    try:
        last_lines = _relay(process)
        if process.wait():
            raise StageFailedError(
                f"training failed: {_reason(last_lines)}", "checkpoints are kept: mend it, run again"
            )
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _command(parameters: TrainParameters, workspace: Workspace) -> list[str]:
    launch = parameters.launch
    distributed = ["--multi_gpu"] if launch.processes > 1 and _has_gpu() else []
    return [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *(f"--num_processes={launch.processes}", f"--num_machines={launch.machines}"),
        *(f"--mixed_precision={launch.mixed_precision}", "--dynamo_backend=no"),
        *distributed,
        *([] if _has_gpu() else ["--cpu"]),
        *("--module", "training.run", str(workspace.root)),
    ]


def _has_gpu() -> bool:
    return bool(torch.cuda.is_available())


def _environment(parameters: TrainParameters) -> dict[str, str]:
    """Threads: the cores shared out to the processes; idle ones sleep, so that a busy machine slows us only in proportion."""
    threads = max(1, len(os.sched_getaffinity(0)) // parameters.launch.processes)
    return {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive", "TQDM_DISABLE": "1"}


def _relay(process: "subprocess.Popen[str]") -> deque[str]:
    """Pass standard error on as it comes, tracebacks only when asked for; its last lines."""
    assert process.stderr is not None  # noqa: S101 - asked for above
    lines: deque[str] = deque(maxlen=_REMEMBERED_LINES)
    shown = True
    for line in process.stderr:
        shown = shown and (_VERBOSE in os.environ or not line.startswith("Traceback"))
        if shown and not line.startswith(_MESSAGE):
            sys.stderr.write(line)
        lines.append(line.rstrip())
    return lines


def _reason(lines: deque[str]) -> str:
    """The message that our own code printed, or else the last line of the exception."""
    ours = [line.removeprefix(_MESSAGE) for line in lines if line.startswith(_MESSAGE)]
    errors = [line for line in lines if "Error" in line and not line.startswith(" ") and "subprocess" not in line]
    return (ours or errors or list(lines) or ["no message"])[-1 if ours else 0]
