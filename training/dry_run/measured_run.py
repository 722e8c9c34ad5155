"""One process of a measurement: `accelerate launch -m training.dry_run.measured_run WORKSPACE FOLDER PAIRS PROCESSES STEPS`.

Takes real steps as `training.run` does, on other numbers of pairs and processes than the parameters say, and writes the seconds
of a step to FOLDER. Nothing is published or tracked, and no checkpoint falls within so few steps.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from accelerate.utils import set_seed

from stage.errors import ViewforgeError
from stage.files import write_json
from stage.lifeline import die_with_parent
from stage.parameters import load_seed
from stage.seeds import derive_seed
from stage.workspace import Workspace
from training.assembly import loader_of, put_on_hardware, system_of
from training.data.batches import ViewBatch
from training.data.datasets import open_datasets, picture_size, plan_of
from training.engine import Engine
from training.feed import Feed
from training.parameters import TrainParameters, load_training
from training.preemption import Notice
from training.processes import accelerator_of
from training.shares import check_split
from training.tracking.tracker import Silence

RESULT = "step.json"
# The first steps choose kernels and fill caches.
WARM_UP = 3


class EnoughError(Exception):
    """The wanted steps have been taken."""


class TimedFeed(Feed):
    """A feed that ends after some steps, in all processes at once, and knows how long those after the warm-up took.

    Args:
        feed: whose batches these are.
        steps: to be measured.
    """

    def __init__(self, feed: Feed, steps: int) -> None:
        self._feed, self._steps = feed, steps
        self.seconds = 0.0

    def __iter__(self) -> Iterator[ViewBatch]:
        """The batches.

        Raises:
            EnoughError: when a batch after the last one is asked for.
        """
        batches, started = iter(self._feed), 0.0
        for number in range(WARM_UP + self._steps):
            if number == WARM_UP:
                started = _now()
            yield next(batches)
        self.seconds = (_now() - started) / self._steps
        raise EnoughError

    def state_dict(self) -> dict[str, object]:
        """The place after the batch that came last."""
        return self._feed.state_dict()


def _now() -> float:
    """The time at which everything that was asked of a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def adapted(parameters: TrainParameters, pairs: int, processes: int, steps: int) -> TrainParameters:
    """The parameters of a measurement: other pairs and processes on one machine, and no checkpoint in between."""
    enough = max(parameters.steps, WARM_UP + steps + 1)
    alone = {"machines": 1, "machine_rank": None, "main_address": None, "main_port": None}
    launch = parameters.launch.model_copy(update={"processes": processes, **alone})
    changes = {"batch_size": pairs, "steps": enough, "checkpoint_every": enough, "launch": launch}
    return parameters.model_copy(update=changes)


def measure_here(parameters: TrainParameters, seed: int, workspace: Workspace, folder: Path, steps: int) -> None:
    """Take the steps in this process, as one of those that `accelerate launch` started."""
    set_seed(derive_seed(seed, "training", "frameworks") % 2**32)
    readers = open_datasets(parameters.data, workspace.root, parameters.scale, splatters=parameters.splatters)
    plan = plan_of(parameters.data, readers, parameters.batch_size, seed)
    accelerator = accelerator_of(parameters.launch)
    check_split(parameters, accelerator.num_processes)
    feed = TimedFeed(Feed(loader_of(parameters, plan, readers, accelerator), accelerator), steps)
    size = picture_size(parameters.data, readers)
    system = system_of(parameters, seed, size)
    put_on_hardware(parameters, system, size, accelerator)
    engine = Engine(parameters, seed, system, feed, folder, accelerator, Silence(), Notice())
    with suppress(EnoughError):
        engine.run()
    if accelerator.is_main_process:
        reserved = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else None
        write_json(folder / RESULT, {"seconds": feed.seconds, "peak_memory": reserved})
    accelerator.end_training()


def main() -> None:
    """Measure in the workspace that the command line names."""
    die_with_parent()
    workspace, folder = Workspace(Path(sys.argv[1])), Path(sys.argv[2])
    pairs, processes, steps = map(int, sys.argv[3:6])
    try:
        parameters = load_training(workspace)
        changed = adapted(parameters, pairs, processes, steps)
        measure_here(changed, load_seed(workspace.parameters), workspace, folder, steps)
    except ViewforgeError as error:
        print(f"viewforge: {error}", file=sys.stderr)
        sys.exit(error.EXIT_STATUS)


if __name__ == "__main__":
    main()
