"""One process of a training run: `accelerate launch -m training.run WORKSPACE`.

Reads `params.yaml` and the shard sets that it names; works in `scratch/training/<fingerprint>/`; writes `data/model/`, a
diffusers pipeline folder with `provenance.json`, and `data/training/` with `loss.csv` and `metrics.json`. It is started by
`viewforge train`.
"""

import math
import shutil
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch import nn

from stage.errors import InputError, ParameterError, StagePreemptedError, ViewforgeError
from stage.files import folder_sha256, replacing_folder, write_bytes, write_json
from stage.lifeline import die_with_parent
from stage.parameters import load_section, load_seed
from stage.seeds import derive_seed
from stage.workspace import Workspace
from systems.trainable import TrainableSystem
from systems.zero123.training import Zero123Training
from training.compiled import check_compiled
from training.curve import read_curve
from training.data.batches import ViewChoice
from training.data.datasets import index_hashes, open_datasets, picture_size, plan_of, sources_of
from training.data.loader import PlannedLoader
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.engine import Engine
from training.feed import Feed
from training.hardware import cpu_notice, use_hardware
from training.optimizer import is_fused
from training.parameters import TrainParameters
from training.preemption import Notice
from training.processes import accelerator_of, is_sharded
from training.provenance import provenance
from training.tracking import MlflowRun, Silence, Tracker, flattened

_TAIL = 20
_VIEWS = ViewChoice(drawn=2)


def train_here(parameters: TrainParameters, seed: int, workspace: Workspace, notice: Notice) -> None:
    """Train in this process, as one of those that `accelerate launch` started, until it is done or `notice` is given.

    Raises:
        ViewforgeError: when inputs are missing, the loss diverges, or a process was asked to stop.
    """
    set_seed(derive_seed(seed, "training", "frameworks") % 2**32)
    readers = open_datasets(parameters.data, workspace.root)
    plan = plan_of(parameters.data, readers, parameters.batch_size, seed)
    origin = provenance(parameters, seed, plan, index_hashes(parameters.data, workspace.root))
    accelerator = accelerator_of(parameters.launch)
    _check_split(parameters, accelerator)
    _check_agreement(origin)
    folder = workspace.scratch / "training" / origin["fingerprint"][:16]
    folder.mkdir(parents=True, exist_ok=True)
    size = picture_size(parameters.data, readers)
    build = partial(_system, parameters, seed, size)
    system = build()
    facts = _use_hardware(parameters, system, size, accelerator)
    tracker = _tracker(accelerator, parameters, workspace, folder, origin)
    tracker.parameters(flattened(facts, "hardware."))
    feed = _feed(parameters, plan, readers, accelerator)
    engine = Engine(parameters, seed, system, feed, folder, accelerator, tracker, notice)
    try:
        engine.run()
    except StagePreemptedError:
        # The run goes on with the next attempt.
        raise
    except BaseException:
        tracker.fail()
        raise
    averages = engine.averages()
    if accelerator.is_main_process:
        # Weights that are split among the processes cannot be saved; the same system made anew takes the averages.
        result = build() if is_sharded(system) else system
        _put(averages, result)
        _publish(result, folder, workspace, origin)
        tracker.tag("viewforge.model_sha256", folder_sha256(workspace.model))
        tracker.finish()
        _forget_others(folder)
    accelerator.end_training()


def _system(parameters: TrainParameters, seed: int, image_size: int) -> Zero123Training:
    weights = derive_seed(seed, "training", "weights") % 2**32
    return Zero123Training(parameters.zero123, weights, image_size)


@torch.no_grad()
def _put(tensors: Mapping[str, torch.Tensor], system: nn.Module) -> None:
    for name, parameter in system.named_parameters():
        if name in tensors:
            parameter.copy_(tensors[name])


def _use_hardware(
    parameters: TrainParameters, system: TrainableSystem, size: int, accelerator: Accelerator
) -> dict[str, object]:
    """Put `train.hardware` into force; what is in force."""
    settings, optimizer, launch = parameters.hardware, parameters.optimizer, parameters.launch
    if accelerator.is_main_process and (notice := cpu_notice(accelerator.device)):
        print(notice, file=sys.stderr, flush=True)
    facts = use_hardware(settings, system.denoiser, accelerator.device)
    if settings.compile:
        samples = parameters.batch_size // (launch.processes * launch.accumulate)
        difference = check_compiled(system, accelerator, size, samples, len(_VIEWS), settings.compile_tolerance)
        facts |= {"compile_difference": difference.gradients}
    return {
        **facts,
        "mixed_precision": launch.mixed_precision,
        "optimizer": optimizer.kind,
        "fused": optimizer.kind == "adamw" and is_fused(optimizer, accelerator.device),
    }


def _feed(parameters: TrainParameters, plan: Plan, readers: dict[str, ShardReader], accelerator: Accelerator) -> Feed:
    """This process' pairs: two views of an object, the condition last."""
    loader = PlannedLoader(
        plan,
        sources_of(parameters.data, readers),
        _VIEWS,
        rank=accelerator.process_index,
        ranks=accelerator.num_processes,
        workers=parameters.data.workers,
        prefetch=parameters.data.prefetch,
        max_failure_rate=parameters.data.max_failure_rate,
        size=parameters.data.size,
        fetchers=parameters.data.fetchers,
        pin_memory=True,
    )
    return Feed(loader, accelerator)


def _check_agreement(origin: dict[str, Any]) -> None:
    """Processes of several machines may see different folders, and sets may change between one's look and another's."""
    if len(set(gather_object([origin["fingerprint"]]))) > 1:
        raise InputError(
            "the training processes see different shards, parameters or code",
            "give all machines the same ones, and publish no shards while a training starts",
        )


def _check_split(parameters: TrainParameters, accelerator: Accelerator) -> None:
    if accelerator.num_processes != parameters.launch.processes:
        raise ParameterError(
            f"train.launch.processes = {parameters.launch.processes}, yet {accelerator.num_processes} were started",
            "start training with viewforge train",
        )
    shares = accelerator.num_processes * parameters.launch.accumulate
    if parameters.batch_size % shares:
        raise ParameterError(
            f"train.batch_size = {parameters.batch_size} cannot be split into {shares} equal parts "
            f"({accelerator.num_processes} processes × {parameters.launch.accumulate} accumulated)",
            "make it a multiple of that",
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
    points = read_curve(folder / "loss.csv")
    tail = [point.loss for point in points if math.isfinite(point.loss)][-_TAIL:]
    mean = {f"loss_mean_of_last_{len(tail)}": sum(tail) / len(tail)} if tail else {}
    summary = {"steps": points[-1].step, **mean}
    write_json(workspace.training_report / "metrics.json", summary)


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
        parameters = load_section(workspace.parameters, "train", TrainParameters)
        train_here(parameters, load_seed(workspace.parameters), workspace, notice)
    except ViewforgeError as error:
        print(f"viewforge: {error}", file=sys.stderr)
        sys.exit(error.EXIT_STATUS)


if __name__ == "__main__":
    main()
