"""A run of `viewforge reconstruct`: parameters, its folder, the optimisation, and all files that are made of its field.

Imported when the command is called: it needs the systems.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import torch

from cli.reconstruction_sources import Source, SourceOptions
from reconstruction.methods.neus import NeusTask
from reconstruction.methods.prior_methods import PriorMethod, learning_view, prior_task
from reconstruction.optimisation.loop import optimise
from reconstruction.optimisation.memory import enough_memory
from reconstruction.optimisation.parameters import ReconstructParameters
from reconstruction.optimisation.section import ReconstructSection, load_reconstruct
from reconstruction.reconstruct import OPEN_SURFACE, FieldTask, coloured_mesh, seen_in_place, write_files
from reconstruction.texturing import check_target
from reconstruction.tracked_run import tell_files, tell_mesh, tracked_run
from stage.errors import InputError, ParameterError, StageFailedError
from stage.files import json_sha256
from stage.parameters import merged, overridden, validated
from stage.workspace import Workspace
from training.tracking.tracker import Tracker
from viewing.field_view import write_field_view

_GPU_SIZE, _CPU_SIZE = 256, 64
# What a mesh is made with says nothing of what the field learnt.
_AFTERWARDS = {"mesh", "texture", "device", "small", "tracking"}


@dataclass(frozen=True)
class Wanted:
    """The command's options about how and what it makes."""

    method: str | None
    out: Path
    steps: int | None
    small: bool | None
    frames: int
    size: int | None
    seed: int | None
    assignments: tuple[str, ...]

    def parameters(self, workspace: Workspace) -> ReconstructSection:
        """Those of the workspace with what was asked for.

        Raises:
            ParameterError: when a name or value is none.
        """
        asked = {"method": self.method, "small": self.small, "loop": {"seed": self.seed, "steps": self.steps}}
        values = merged(load_reconstruct(workspace), _given(asked))
        chosen = validated(ReconstructSection, overridden(values, self.assignments), "--set")
        if self.method and chosen.method != self.method:
            raise ParameterError(
                f"--set method={chosen.method} beside --method {self.method}", "leave --set method out"
            )
        return chosen


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """Less what nobody asked for."""
    below = {key: _given(value) if isinstance(value, dict) else value for key, value in values.items()}
    return {key: value for key, value in below.items() if value is not None}


def run(workspace: Workspace, given: SourceOptions, wanted: Wanted) -> str:
    """Reconstruct an object; what was made, in words.

    The video and the sheet come first, then the PLY, then the GLB: what fails later loses none of them.

    Raises:
        InputError: when source, model or options do not fit, or the field is empty in the end.
        StageFailedError: when a term is not finite, memory does not suffice, or Blender fails.
    """
    _check(wanted)
    parameters = wanted.parameters(workspace)
    device = _device(parameters.device)
    source = Source.found(replace(given, seed=parameters.loop.seed), workspace, device)
    folder = _folder(workspace, source, parameters)
    print(
        f"reconstruct: {parameters.method} of {source.subject}, {parameters.loop.steps} steps, in {folder}", flush=True
    )
    task = _task(source, folder, parameters, device)
    with tracked_run(parameters, workspace, source.subject, folder) as tracker:
        optimise(task, folder, parameters.loop, tracker)
        made = _write(task, wanted, parameters, device, tracker)
    closed = f", open along {made['open_edges']} edges" if made["open_edges"] else ""
    return f"{made['faces']:,} faces in {wanted.out}{closed}; .ply, .mp4 and .png beside it"


def _write(
    task: FieldTask, wanted: Wanted, parameters: ReconstructSection, device: torch.device, tracker: Tracker
) -> dict[str, Any]:
    """All files of what was learnt, told as they come; what `write_files` says of the GLB."""
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    size = wanted.size or (_CPU_SIZE if device.type == "cpu" else _GPU_SIZE)
    with enough_memory(f"{task.name} of {task.subject}, its video", lambda: "lower --size"):
        write_field_view(
            wanted.out.with_suffix(".mp4"), wanted.out.with_suffix(".png"), seen_in_place(task), wanted.frames, size
        )
    tell_files(tracker, [wanted.out.with_suffix(suffix) for suffix in (".mp4", ".png")])
    mesh = coloured_mesh(task, parameters.mesh)
    tell_mesh(tracker, parameters.loop.steps, mesh)
    ply = wanted.out.with_suffix(".ply")
    try:
        made = write_files(wanted.out, mesh, parameters.texture)
    except StageFailedError as error:
        # Where Blender failed the PLY is there alone.
        tell_files(tracker, [ply, wanted.out] if error.kind == OPEN_SURFACE else [ply])
        raise
    tell_files(tracker, [ply, wanted.out])
    return made


def _check(wanted: Wanted) -> None:
    check_target(wanted.out)
    if wanted.size and wanted.size % 2:
        raise InputError(f"--size {wanted.size} is odd", "videos have even sides")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device {name} is none: {str(error).splitlines()[0]}", "take auto, cpu or cuda") from None


def _folder(workspace: Workspace, source: Source, parameters: ReconstructParameters) -> Path:
    """Of this run and of none that would learn anything else."""
    told: dict[str, Any] = {
        "source": source.identity(parameters.method),
        "parameters": parameters.model_dump(mode="json", exclude=_AFTERWARDS),
    }
    return workspace.scratch / "reconstruct" / f"{source.subject}-{parameters.method}-{json_sha256(told)[:8]}"


def _task(source: Source, folder: Path, parameters: ReconstructParameters, device: torch.device) -> FieldTask:
    if parameters.method not in get_args(PriorMethod):
        views = source.posed_views(folder / "views")
        return NeusTask(views, parameters.neus, parameters.loop, source.subject, device)
    method = cast(PriorMethod, parameters.method)
    prior, view = source.prior(folder, lambda view: learning_view(method, view, parameters))
    return prior_task(method, source.subject, prior, view, parameters)
