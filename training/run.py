"""One process of a training run: `accelerate launch -m training.run WORKSPACE`.

Reads `params.yaml` and the shard sets that it names; works in `scratch/training/<fingerprint>/`; writes `data/model/`, a
diffusers pipeline folder with `provenance.json`, and `data/training/` with `loss.csv` and `metrics.json`. It is started by
`viewforge train`.
"""

import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, gather_object, set_seed

from stage.errors import InputError, ViewforgeError
from stage.files import folder_sha256, replacing_folder, write_bytes, write_json
from stage.lifeline import die_with_parent
from stage.parameters import load_section, load_seed
from stage.seeds import derive_seed
from stage.workspace import Workspace
from systems.zero123.training import Zero123Training
from training.attention import use_attention
from training.curve import read_curve
from training.data.batches import ViewChoice
from training.data.datasets import index_hashes, open_datasets, picture_size, plan_of, sources_of
from training.data.loader import PlannedLoader
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.engine import Engine
from training.feed import Feed
from training.parameters import LaunchParameters, TrainParameters
from training.provenance import provenance
from training.shares import check_split
from training.tracking import MlflowRun, Silence, Tracker, flattened

_TAIL = 20
# A process may wait for another one whose server is slow to answer again; what ends is noticed at once.
_PATIENCE = timedelta(hours=1)


def train_here(parameters: TrainParameters, seed: int, workspace: Workspace) -> None:
    """Train in this process, as one of those that `accelerate launch` started.

    Raises:
        ViewforgeError: when inputs are missing, or the loss diverges.
    """
    set_seed(derive_seed(seed, "training", "frameworks") % 2**32)
    readers = open_datasets(parameters.data, workspace.root)
    plan = plan_of(parameters.data, readers, parameters.batch_size, seed)
    origin = provenance(parameters, seed, plan, index_hashes(parameters.data, workspace.root))
    accelerator = accelerator_of(parameters.launch)
    check_split(parameters, accelerator.num_processes)
    _check_agreement(origin)
    folder = workspace.scratch / "training" / origin["fingerprint"][:16]
    folder.mkdir(parents=True, exist_ok=True)
    system = system_of(parameters, seed, picture_size(parameters.data, readers))
    tracker = _tracker(accelerator, parameters, workspace, folder, origin)
    feed = Feed(loader_of(parameters, plan, readers, accelerator), accelerator)
    engine = Engine(parameters, seed, system, feed, folder, accelerator, tracker)
    try:
        engine.run()
    except BaseException:
        tracker.fail()
        raise
    if accelerator.is_main_process:
        _publish(system, folder, workspace, origin)
        tracker.tag("viewforge.model_sha256", folder_sha256(workspace.model))
        tracker.finish()
        _forget_others(folder)
    accelerator.end_training()


def accelerator_of(parameters: LaunchParameters) -> Accelerator:
    """The processes that `accelerate launch` started, and their number format."""
    return Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision=parameters.mixed_precision,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )


def system_of(parameters: TrainParameters, seed: int, image_size: int) -> Zero123Training:
    """What is trained, for pictures of so many pixels a side."""
    weights = derive_seed(seed, "training", "weights") % 2**32
    system = Zero123Training(parameters.zero123, weights, image_size)
    use_attention(system.unet, parameters.attention)
    return system


def loader_of(
    parameters: TrainParameters, plan: Plan, readers: dict[str, ShardReader], accelerator: Accelerator
) -> PlannedLoader:
    """This process' pairs: two views of an object, the condition last."""
    return PlannedLoader(
        plan,
        sources_of(parameters.data, readers),
        ViewChoice(drawn=2),
        rank=accelerator.process_index,
        ranks=accelerator.num_processes,
        workers=parameters.data.workers,
        prefetch=parameters.data.prefetch,
        max_failure_rate=parameters.data.max_failure_rate,
        size=parameters.data.size,
        fetchers=parameters.data.fetchers,
        pin_memory=True,
    )


def _check_agreement(origin: dict[str, Any]) -> None:
    """Processes of several machines may see different folders, and sets may change between one's look and another's."""
    if len(set(gather_object([origin["fingerprint"]]))) > 1:
        raise InputError(
            "the training processes see different shards, parameters or code",
            "give all machines the same ones, and publish no shards while a training starts",
        )


def _tracker(
    accelerator: Accelerator, parameters: TrainParameters, workspace: Workspace, folder: Path, origin: dict[str, Any]
) -> Tracker:
    """The main process reports to MLflow; a resumed training continues its run."""
    if not accelerator.is_main_process:
        return Silence()
    run = MlflowRun(workspace, f"train {parameters.system}", folder / "mlflow_run_id")
    run.parameters({"seed": origin["seed"], **flattened(parameters.model_dump(mode="json"), "train.")})
    for key in ("fingerprint", "code_sha256"):
        run.tag(f"viewforge.{key}", origin[key])
    for name, digest in origin["shards_sha256"].items():
        run.tag(f"viewforge.shards_sha256.{name}", digest)
    return run


def _publish(system: Zero123Training, folder: Path, workspace: Workspace, origin: dict[str, Any]) -> None:
    with replacing_folder(workspace.model) as temporary:
        system.save(temporary)
        write_json(temporary / "provenance.json", origin)
    write_bytes(workspace.training_report / "loss.csv", (folder / "loss.csv").read_bytes())
    tail = read_curve(folder / "loss.csv")[-_TAIL:]
    summary = {"steps": tail[-1].step, f"loss_mean_of_last_{len(tail)}": sum(p.loss for p in tail) / len(tail)}
    write_json(workspace.training_report / "metrics.json", summary)


def _forget_others(folder: Path) -> None:
    """Delete the working folders of earlier parameters, data or code."""
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def main() -> None:
    """Train in the workspace that the command line names."""
    die_with_parent()
    workspace = Workspace(Path(sys.argv[1]))
    try:
        parameters = load_section(workspace.parameters, "train", TrainParameters)
        train_here(parameters, load_seed(workspace.parameters), workspace)
    except ViewforgeError as error:
        sys.exit(f"viewforge: {error}")


if __name__ == "__main__":
    main()
