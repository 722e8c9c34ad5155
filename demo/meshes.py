"""From what a request made to a textured mesh: the one place where the page comes to 3D.

Gaussians are fused (`viewforge splatter mesh`); to a turn's views a surface is fitted (`viewforge reconstruct` with NeuS at its
small budget). Both in a process of their own, which a cancelled job ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from demo.jobs import Job
from demo.making import Made
from demo.processes import run
from stage.errors import InputError, StageFailedError

# A picture of a field costs a CPU as much as some steps.
_FRAMES = "24"
_BAKING = {"": "unwrapping and baking in Blender"}
_FUSING = {"mesh": "looking at the Gaussians", **_BAKING}
_FITTING = {"reconstruct neus": "fitting a surface to the views", "view": "filming the surface", **_BAKING}


@dataclass(frozen=True)
class MadeMesh:
    """The files of a mesh."""

    glb: Path
    """Textured."""
    beside: tuple[Path, ...]
    """Of a mesh of views: a PLY with colours at its vertices, and a film of the fitted surface."""
    memory: str
    """What it took, in words."""


def can_become_mesh(made: Made) -> bool:
    """Whether there is a way from these files to a mesh."""
    return made.gaussians is not None or made.views is not None


def takes_the_device(made: Made) -> bool:
    """Whether the mesh is made where models sample; else on the CPU, beside them."""
    return made.gaussians is None


def write_mesh(made: Made, path: Path, device: str, steps: int, job: Job) -> MadeMesh:
    """Write the textured mesh, a GLB file.

    Args:
        made: what there is of an object.
        path: ends in `.glb`; what else is made lies beside it.
        device: where a surface is fitted.
        steps: of that.
        job: is told of each step, and says when to end.

    Raises:
        CancelledJobError: when the job is cancelled.
        InputError: when there is no way to a mesh.
        StageFailedError: when the mesh could not be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if made.gaussians is not None:
        job.expect(0, "reading the Gaussians")
        memory = _run(job, ["splatter", "mesh", str(made.gaussians)], path, _FUSING, "cpu")
        return MadeMesh(path, (), memory)
    if made.views is None:
        raise InputError("one view does not tell an object's shape", "ask for all around")
    job.expect(0, "reading the views")
    memory = _run(job, _fitting(made.views, path, device, steps), path, _FITTING, device)
    return MadeMesh(path, (path.with_suffix(".ply"), path.with_suffix(".mp4")), memory)


def _fitting(views: Path, path: Path, device: str, steps: int) -> list[str]:
    """The command; its own work lies beside the mesh, and goes with it."""
    if device != "cpu":
        # What models that are loaded no longer use is free for others then.
        torch.cuda.empty_cache()
    chosen = ["--method", "neus", "--small", "--steps", str(steps), "--frames", _FRAMES, "--set", f"device={device}"]
    return ["reconstruct", str(views), *chosen, "--workspace", str(path.parent)]


def _run(job: Job, arguments: Sequence[str], path: Path, notes: dict[str, str], device: str) -> str:
    try:
        memory = run(job, [*arguments, "--out", str(path)], notes, torch.device(device))
    except StageFailedError as error:
        # Where a visitor's files lie is nothing to him.
        raise StageFailedError(f"no mesh: {str(error).replace(str(path.parent), 'its folder')}") from None
    if not path.is_file():
        raise StageFailedError("no mesh: nothing was written", "try another picture or model")
    return memory
