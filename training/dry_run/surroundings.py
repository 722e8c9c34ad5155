"""What a training needs beside its data: weights to start from, a tracking server, room on the disk, a GPU large enough."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
from safetensors import SafetensorError, safe_open

from stage.secrets import shown
from training.dry_run.devices import Device
from training.dry_run.memory import HEADROOM
from training.dry_run.outline import MODEL, Outline
from training.dry_run.problems import Problem
from training.parameters import TrainParameters

_SECONDS = 5.0
# Weights that are named before the rest is counted.
_NAMED = 3


def wrong_weights(outline: Outline, pretrained: str | None) -> Iterator[Problem]:
    """Weights that the files of a folder lack or have in another shape; their headers alone are read."""
    if not pretrained:
        return
    for name, module in outline.stored.items():
        folder = Path(pretrained) / name
        stored: dict[str, tuple[int, ...]] = {}
        try:
            for path in folder.glob("*.safetensors"):
                with safe_open(path, framework="pt") as weights:
                    stored |= {key: tuple(weights.get_slice(key).get_shape()) for key in weights.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            yield Problem(MODEL, f"{path} cannot be read: {error}", "restore it, or make it again")
            continue
        wanted = {key: tuple(value.shape) for key, value in module.state_dict().items()}
        absent = sorted(key for key, shape in wanted.items() if stored.get(key) != shape)
        if absent:
            rest = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
            what = f"{folder} lacks {', '.join(absent[:_NAMED])}{rest}, or has them in another shape"
            yield Problem(MODEL, what, "restore it, or make it again")


def unreachable_tracking() -> Iterator[Problem]:
    """A warning when MLflow's server does not answer; a training without it goes on or not as MLflow decides."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith(("http://", "https://")):
        return
    try:
        httpx.get(f"{uri.rstrip('/')}/health", timeout=_SECONDS).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        what = (
            f"the tracking server {shown(uri)} does not answer: {str(error).splitlines()[0] or type(error).__name__}"
        )
        yield Problem("tracking", what, "start it, or change MLFLOW_TRACKING_URI", fatal=False)


def short_of_disk(parameters: TrainParameters, folder: Path, checkpoint: int) -> Iterator[Problem]:
    """Too little room for the checkpoints: those that are kept, and the one that is being written.

    Args:
        parameters: the run.
        folder: where they will lie.
        checkpoint: bytes of one.
    """
    needed = checkpoint * (parameters.checkpoints_kept + 1)
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < 2 * needed:
        kept = parameters.checkpoints_kept
        what = f"{folder} has {free / 1e9:,.1f} GB left, {kept} + 1 checkpoints take {needed / 1e9:,.1f} GB"
        yield Problem("disk", what, "free some, or lower train.checkpoints_kept", fatal=free < needed)


def short_of_gpus(parameters: TrainParameters, device: Device) -> Iterator[Problem]:
    """Fewer GPUs on this machine than it would have to give; the plan may be made on another machine."""
    share = parameters.launch.processes // parameters.launch.machines
    if device.count and share > device.count:
        what = f"{share} processes a machine, and this one has {device.count} × {device.name}"
        yield Problem("gpu", what, "plan where the training will run, or lower train.launch.processes", fatal=False)


def short_of_memory(needed: int, memory: int | None, remedy: str, *, here: bool) -> Iterator[Problem]:
    """A GPU that is too small.

    Args:
        needed: bytes.
        memory: of one GPU, bytes; None where it is not known.
        remedy: what would fit.
        here: whether the GPU is of this machine, and not one that somebody asked about.
    """
    if memory and needed > memory * (1 - HEADROOM):
        whose = "the GPU of this machine has" if here else "it was said to have"
        what = f"about {needed / 1e9:,.1f} GB on a GPU, {whose} {memory / 1e9:,.1f} GB, of which {HEADROOM:.0%} are left free"
        yield Problem("gpu", what, remedy)
