"""The seconds of a step, measured by taking some, in processes of their own and a scratch folder that goes afterwards.

With fewer GPUs than the training will have, each does what it would do there: the same pairs at once and the same accumulation.
Left out then is what the exchange of gradients between more processes takes.
"""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from stage.workspace import Workspace
from training.dry_run.cost import StepTime
from training.dry_run.devices import Device
from training.dry_run.measured_run import RESULT, WARM_UP, adapted
from training.launch import launch
from training.parameters import TrainParameters
from training.shares import pairs_at_once


def measured(parameters: TrainParameters, workspace: Workspace, device: Device, steps: int) -> StepTime:
    """Take some steps and time them.

    Args:
        parameters: the run.
        workspace: whose data are read and whose scratch folder is worked in; its checkpoints stay as they are.
        device: of this machine.
        steps: after a warm-up.

    Raises:
        StageFailedError: with the reason that the processes gave.
        StageKilledError: when a signal ended one of them.
    """
    available = device.count or len(os.sched_getaffinity(0))
    processes = min(parameters.launch.processes, available)
    pairs = pairs_at_once(parameters) * parameters.launch.accumulate * processes
    workspace.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="measure-", dir=workspace.scratch) as folder:
        arguments = (str(workspace.root), folder, str(pairs), str(processes), str(steps))
        program = ("training.dry_run.measured_run", *arguments)
        launch(adapted(parameters, pairs, processes, steps), Path(folder) / "launch", program)
        found = json.loads((Path(folder) / RESULT).read_text())
    source = f"mean of {steps} steps after {WARM_UP}, {processes} of {parameters.launch.processes} processes"
    return StepTime(found["seconds"], f"{source}, on {device.name}", device.name, found["peak_memory"])
