"""One process of a training run: `accelerate launch -m training.run WORKSPACE`.

Reads `params.yaml` and the shard sets that it names; works in `scratch/training/<fingerprint>/`; writes `data/model/`, a
diffusers pipeline folder with `provenance.json`, and `data/training/` with `loss.csv` and `metrics.json`. It is started by
`viewforge train`.
"""

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object, set_seed

from stage.errors import InputError, StagePreemptedError, ViewforgeError
from stage.files import folder_sha256
from stage.lifeline import die_with_parent
from stage.parameters import load_seed
from stage.seeds import derive_seed
from stage.workspace import Workspace
from training.assembly import loader_of, put_on_hardware, system_of
from training.data.datasets import index_hashes, left_out, open_datasets, picture_size, plan_of
from training.engine import Engine
from training.feed import Feed
from training.introduction import Introduction
from training.launching.heartbeat import Heartbeat, Pulse
from training.launching.outcome import EXIT_REASON_TAG
from training.parameters import TrainParameters, load_training
from training.preemption import Notice
from training.processes import accelerator_of, is_sharded
from training.provenance import provenance
from training.publication import publish, take_over, take_over_states
from training.shares import check_split
from training.tracking.journals import forget_delivered, journals_folder
from training.tracking.tracker import Silence, Tracker
from training.tracking.trackers import open_trackers


def train_here(
    parameters: TrainParameters,
    seed: int,
    workspace: Workspace,
    notice: Notice | None = None,
    pulse: Pulse | None = None,
) -> None:
    """Train in this process, as one of those that `accelerate launch` started, until it is done or `notice` is given.

    `pulse` is told where the training is.

    Raises:
        ViewforgeError: when inputs are missing, the loss diverges, or a process was asked to stop.
    """
    set_seed(derive_seed(seed, "training", "frameworks") % 2**32)
    readers = open_datasets(parameters.data, workspace.root, parameters.scale, splatters=parameters.splatters)
    plan = plan_of(parameters.data, readers, parameters.batch_size, seed)
    origin = provenance(parameters, seed, plan, index_hashes(readers))
    accelerator = accelerator_of(parameters.launch)
    check_split(parameters, accelerator.num_processes)
    _check_agreement(origin)
    name = origin["fingerprint"][:16]
    folder, kept = workspace.scratch / "training" / name, journals_folder(workspace) / name
    folder.mkdir(parents=True, exist_ok=True)
    size = picture_size(parameters.data, readers)
    build = partial(system_of, parameters, seed, size)
    system = build()
    hardware = put_on_hardware(parameters, system, size, accelerator)
    system.keep_in(workspace.scratch / "kept" / parameters.system)
    tracker: Tracker = Silence()
    samples = None
    if accelerator.is_main_process:
        for line in left_out(readers):
            print(f"train: {line}", file=sys.stderr)
        # A resumed training continues its runs.
        tracker = open_trackers(parameters.tracking, workspace, f"train {parameters.system}", name)
        introduction = Introduction(parameters, seed, workspace, readers, origin, kept)
        introduction.tell(tracker, hardware)
        samples = introduction.samples(system)
    feed = Feed(loader_of(parameters, plan, readers, accelerator), accelerator)
    engine = Engine(parameters, seed, system, feed, folder, accelerator, tracker, notice or Notice(), samples, pulse)
    _run(engine, tracker)
    averages = engine.averages()
    if accelerator.is_main_process:
        # Weights that are split among the processes cannot be saved; the same system made anew takes what was trained.
        result = take_over_states(system, build()) if is_sharded(system) else system
        take_over(averages, result)
        publish(result, folder / "loss.csv", kept / "samples", workspace, origin)
        tracker.tag("viewforge.model_sha256", folder_sha256(workspace.model))
        tracker.tag(EXIT_REASON_TAG, "finished")
        tracker.finish()
        _forget_others(folder)
        forget_delivered(workspace, kept)
    # Those of other machines go with this one from its checkpoint if it fails in the last second.
    accelerator.wait_for_everyone()
    accelerator.end_training()


def _run(engine: Engine, tracker: Tracker) -> None:
    try:
        engine.run()
    except StagePreemptedError:
        # The run goes on with the next attempt.
        raise
    except BaseException:
        tracker.fail()
        raise


def _check_agreement(origin: dict[str, Any]) -> None:
    """Processes of several machines may see different folders, and sets may change between one's look and another's."""
    if len(set(gather_object([origin["fingerprint"]]))) > 1:
        raise InputError(
            "the training processes see different shards, parameters or code",
            "give all machines the same ones, and publish no shards while a training starts",
        )


def _forget_others(folder: Path) -> None:
    """Delete the working folders of earlier parameters, data or code."""
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def main() -> None:
    """Train in the workspace that the command line names."""
    die_with_parent()
    notice = Notice().heed()
    workspace = Workspace(Path(sys.argv[1]))
    try:
        parameters = load_training(workspace)
        pulse = Pulse()
        with Heartbeat(pulse, parameters.launch.silence_seconds):
            train_here(parameters, load_seed(workspace.parameters), workspace, notice, pulse)
    except ViewforgeError as error:
        print(f"viewforge: {error}", file=sys.stderr)
        sys.exit(error.EXIT_STATUS)


if __name__ == "__main__":
    main()
