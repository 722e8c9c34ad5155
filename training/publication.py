"""What a finished training leaves behind: `data/model/`, a pipeline folder, and `data/training/` for DVC and the report."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stage.files import replacing_folder, write_bytes, write_json
from stage.workspace import Workspace
from systems.trainable import TrainableSystem
from training.curve import read_curve

_TAIL = 20


@torch.no_grad()
def take_over(tensors: Mapping[str, torch.Tensor], system: nn.Module) -> None:
    """Put tensors in the place of the weights of these names."""
    for name, parameter in system.named_parameters():
        if name in tensors:
            parameter.copy_(tensors[name])


def take_over_states(source: TrainableSystem, target: TrainableSystem) -> TrainableSystem:
    """Put what a system keeps beside trained weights in the place of another's; that one."""
    for name, state in target.states().items():
        state.load_state_dict(source.states()[name].state_dict())
    return target


def publish(
    system: TrainableSystem, curve: Path, samples: Path, workspace: Workspace, origin: Mapping[str, Any]
) -> None:
    """Write the model with its provenance, the loss curve, the last of the sampled pictures and the summary.

    Args:
        system: with the weights that are to be published.
        curve: `loss.csv` of the run.
        samples: folder of the pictures that were sampled on the way, if any were.
        workspace: whose model it becomes.
        origin: see `training.provenance`.
    """
    with replacing_folder(workspace.model) as temporary:
        system.save(temporary)
        write_json(temporary / "provenance.json", origin)
    report = workspace.training_report
    write_bytes(report / "loss.csv", curve.read_bytes())
    _publish_samples(samples, report / "samples")
    write_json(report / "metrics.json", _summary(curve))


def _publish_samples(folder: Path, published: Path) -> None:
    """The last of the pictures alone; without any the folder is empty, for DVC expects it."""
    with replacing_folder(published) as temporary:
        for made in sorted(folder.glob("step-*.png"))[-1:]:
            shutil.copyfile(made, temporary / "last.png")


def _summary(curve: Path) -> dict[str, float]:
    points = read_curve(curve)
    tail = [point.loss for point in points if math.isfinite(point.loss)][-_TAIL:]
    mean = {f"loss_mean_of_last_{len(tail)}": sum(tail) / len(tail)} if tail else {}
    return {"steps": points[-1].step, **mean}
