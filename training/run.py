"""One process of a training run: `accelerate launch -m training.run WORKSPACE`.

Reads `params.yaml` and `data/shards/`; works in `scratch/training/<fingerprint>/`; writes `data/model/`, a diffusers
pipeline folder with `provenance.json`, and `data/training/` with `loss.csv` and `metrics.json`. `viewforge train` starts it.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from stage.code import source_fingerprint
from stage.errors import ParameterError, ViewforgeError
from stage.files import file_sha256, folder_sha256, json_sha256, replacing_folder, write_bytes, write_json
from stage.lifeline import die_with_parent
from stage.parameters import load_section, load_seed
from stage.seeds import derive_seed
from stage.workspace import Workspace
from systems.zero123.training import Zero123Training
from training.attention import use_attention
from training.curve import read_curve
from training.data.index import INDEX
from training.data.pairs import PairSampler
from training.data.reader import ShardReader
from training.engine import Engine
from training.parameters import TrainParameters
from training.tracking import MlflowRun, Silence, Tracker, flattened

_SYSTEM_CODE = Path(sys.modules[Zero123Training.__module__].__file__ or "").parent
TRAINING_CODE = (
    *sorted(f"systems.zero123.{path.stem}" for path in _SYSTEM_CODE.glob("[a-z]*.py")),
    "training.data.pairs",
    "training.engine",
)
_TAIL = 20


def provenance(parameters: TrainParameters, seed: int, workspace: Workspace) -> dict[str, Any]:
    """What decides the trained weights; `fingerprint` is its hash."""
    decisive = parameters.model_dump(mode="json", exclude={"checkpoint_every", "checkpoints_kept", "log_every"})
    origin = {
        "parameters": decisive,
        "seed": seed,
        "shards_sha256": file_sha256(workspace.shards / INDEX),
        "code_sha256": source_fingerprint(TRAINING_CODE),
    }
    return {**origin, "fingerprint": json_sha256(origin)}


def train_here(parameters: TrainParameters, seed: int, workspace: Workspace) -> None:
    """Train in this process, as one of those that `accelerate launch` started.

    Raises:
        ViewforgeError: when inputs are missing, or the loss diverges.
    """
    set_seed(derive_seed(seed, "training", "frameworks") % 2**32)
    reader = ShardReader(workspace.shards, "train")
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision=parameters.launch.mixed_precision)
    _check_split(parameters, accelerator)
    origin = provenance(parameters, seed, workspace)
    folder = workspace.scratch / "training" / origin["fingerprint"][:16]
    folder.mkdir(parents=True, exist_ok=True)
    system = Zero123Training(
        parameters.zero123, derive_seed(seed, "training", "weights") % 2**32, _picture_size(reader)
    )
    use_attention(system.unet, parameters.attention)
    tracker = _tracker(accelerator, parameters, workspace, folder, origin)
    engine = Engine(parameters, seed, system, PairSampler(reader, seed), folder, accelerator, tracker)
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


def _picture_size(reader: ShardReader) -> int:
    return int(reader[0].rgba.shape[1])


def _tracker(
    accelerator: Accelerator, parameters: TrainParameters, workspace: Workspace, folder: Path, origin: dict[str, Any]
) -> Tracker:
    """The main process reports to MLflow; a resumed training continues its run."""
    if not accelerator.is_main_process:
        return Silence()
    run = MlflowRun(workspace, f"train {parameters.system}", folder / "mlflow_run_id")
    run.parameters({"seed": origin["seed"], **flattened(parameters.model_dump(mode="json"), "train.")})
    for key in ("fingerprint", "shards_sha256", "code_sha256"):
        run.tag(f"viewforge.{key}", origin[key])
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
