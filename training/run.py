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
from accelerate.utils import DistributedType, InitProcessGroupKwargs, gather_object, set_seed

from stage.errors import InputError, ParameterError, ViewforgeError
from stage.files import folder_sha256, replacing_folder, write_bytes, write_json
from stage.lifeline import die_with_parent
from stage.parameters import load_section, load_seed
from stage.seeds import derive_seed
from stage.workspace import Workspace
from systems.trainable import TrainableSystem
from systems.zero123.training import Zero123Training
from training.attention import use_attention
from training.curve import read_curve
from training.data.batches import ViewChoice
from training.data.datasets import index_hashes, open_datasets, picture_size, plan_of, sources_of
from training.data.loader import PlannedLoader
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.dataset_inputs import dataset_inputs
from training.engine import Engine
from training.feed import Feed
from training.journals import forget_delivered, journals_folder
from training.parameters import TrainParameters
from training.provenance import provenance
from training.run_origin import origin_tags
from training.sample_grid import SampleGrid
from training.sample_pairs import sample_pairs, validation_readers
from training.trackers import open_trackers
from training.tracking import Silence, Tracker, flattened

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
    accelerator = _accelerator(parameters)
    _check_split(parameters, accelerator)
    _check_agreement(origin)
    folder = workspace.scratch / "training" / _short(origin)
    folder.mkdir(parents=True, exist_ok=True)
    weights = derive_seed(seed, "training", "weights") % 2**32
    system = Zero123Training(parameters.zero123, weights, picture_size(parameters.data, readers))
    use_attention(system.unet, parameters.attention)
    tracker = _tracker(accelerator, parameters, workspace, origin)
    samples = None
    if accelerator.is_main_process:
        _introduce(tracker, parameters, workspace, readers, origin)
        # Under FSDP no process has all weights.
        if accelerator.distributed_type is not DistributedType.FSDP:
            samples = _samples(parameters, seed, system, workspace, readers, origin)
    feed = _feed(parameters, plan, readers, accelerator)
    engine = Engine(parameters, seed, system, feed, folder, accelerator, tracker, samples)
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
        forget_delivered(workspace, journals_folder(workspace) / folder.name)
    accelerator.end_training()


def _accelerator(parameters: TrainParameters) -> Accelerator:
    return Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision=parameters.launch.mixed_precision,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )


def _feed(parameters: TrainParameters, plan: Plan, readers: dict[str, ShardReader], accelerator: Accelerator) -> Feed:
    """This process' pairs: two views of an object, the condition last."""
    loader = PlannedLoader(
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
    accelerator: Accelerator, parameters: TrainParameters, workspace: Workspace, origin: dict[str, Any]
) -> Tracker:
    """The main process reports; a resumed training continues its runs."""
    if not accelerator.is_main_process:
        return Silence()
    return open_trackers(parameters.tracking, workspace, f"train {parameters.system}", _short(origin))


def _introduce(
    tracker: Tracker,
    parameters: TrainParameters,
    workspace: Workspace,
    readers: dict[str, ShardReader],
    origin: dict[str, Any],
) -> None:
    """Tell a tracker what is run, on what, and of what it was made."""
    tracker.parameters({"seed": origin["seed"], **flattened(parameters.model_dump(mode="json"), "train.")})
    for key, value in origin_tags(workspace, origin).items():
        tracker.tag(key, value)
    unseen = validation_readers(parameters.data, workspace.root)
    tracker.inputs(dataset_inputs(parameters.data, workspace.root, origin["shards_sha256"], readers, unseen))
    path = journals_folder(workspace) / _short(origin) / "provenance.json"
    write_json(path, origin)
    tracker.artifact(path)


def _samples(
    parameters: TrainParameters,
    seed: int,
    system: TrainableSystem,
    workspace: Workspace,
    readers: dict[str, ShardReader],
    origin: dict[str, Any],
) -> SampleGrid | None:
    """What samples pictures on the way, in the main process; nothing where that is not wanted."""
    if parameters.samples.every is None:
        return None
    size = picture_size(parameters.data, readers)
    pairs = sample_pairs(parameters.data, workspace.root, readers, seed, parameters.samples.pairs, size)
    folder = journals_folder(workspace) / _short(origin) / "samples"
    return SampleGrid(parameters, seed, system, pairs, folder) if pairs else None


def _short(origin: dict[str, Any]) -> str:
    """The name of a run's folders."""
    return str(origin["fingerprint"][:16])


def _publish(system: Zero123Training, folder: Path, workspace: Workspace, origin: dict[str, Any]) -> None:
    with replacing_folder(workspace.model) as temporary:
        system.save(temporary)
        write_json(temporary / "provenance.json", origin)
    write_bytes(workspace.training_report / "loss.csv", (folder / "loss.csv").read_bytes())
    _publish_samples(journals_folder(workspace) / folder.name / "samples", workspace.training_report / "samples.png")
    tail = read_curve(folder / "loss.csv")[-_TAIL:]
    summary = {"steps": tail[-1].step, f"loss_mean_of_last_{len(tail)}": sum(p.loss for p in tail) / len(tail)}
    write_json(workspace.training_report / "metrics.json", summary)


def _publish_samples(folder: Path, published: Path) -> None:
    """The last of the sampled pictures, if there are any."""
    made = sorted(folder.glob("step-*.png"))
    if made:
        write_bytes(published, made[-1].read_bytes())
    else:
        published.unlink(missing_ok=True)


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
