"""From a method's task to files: optimise the field, make its mesh, colour it, write it.

task = NeusTask(views, parameters.neus, parameters.loop, uid, device)
mesh = reconstruct(task, folder, parameters)
write_files(Path("model.glb"), mesh, TextureParameters())
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import trimesh
from jaxtyping import Float
from torch import Tensor

from blender_render.camera_sets import View
from geometry.triangle_mesh import TriangleMesh
from reconstruction.field_colours import painted
from reconstruction.field_mesh import mesh_of
from reconstruction.fields.field import Field
from reconstruction.methods.input_view import scaled
from reconstruction.optimisation.loop import Watch, optimise
from reconstruction.optimisation.memory import enough_memory
from reconstruction.optimisation.parameters import FieldMeshParameters, ReconstructParameters
from reconstruction.optimisation.task import Task
from reconstruction.parameters import TextureParameters
from reconstruction.texturing import check_target, write_textured
from stage.errors import StageFailedError
from stage.files import write_bytes
from training.tracking.tracker import Tracker

OPEN_SURFACE = "open_surface"
"""Kind of the error that a mesh which is written all the same is not closed."""


class FieldTask(Task, Protocol):
    """An optimisation of a field that can be looked at."""

    @property
    def field(self) -> Field:
        """What learns."""

    @property
    def scale(self) -> float:
        """How many times larger the field's world is than the object's, whose longest side is about 1."""

    def seen(self, camera: View) -> Float[Tensor, "3 h w"]:
        """The field's picture from a camera on white, RGB in [0, 1]; of a field of latents the decoded one.

        Args:
            camera: in the field's world.
        """


def reconstruct(
    task: FieldTask,
    folder: Path,
    parameters: ReconstructParameters,
    tracker: Tracker | None = None,
    watch: Watch | None = None,
) -> TriangleMesh:
    """The coloured mesh of an object, world units.

    Args:
        task: of a method.
        folder: the run's, for checkpoints and previews; a run that was killed goes on from there.
        parameters: of loop and mesh.
        tracker: where figures are reported.
        watch: is told of every step.

    Raises:
        InputError: when checkpoints do not fit, or the field has no surface in the end.
        StageFailedError: when the optimisation fails; checkpoints and previews stay.
    """
    optimise(task, folder, parameters.loop, tracker, watch)
    return coloured_mesh(task, parameters.mesh)


def coloured_mesh(task: FieldTask, parameters: FieldMeshParameters) -> TriangleMesh:
    """The mesh of what a task has learnt, in the object's world, with its field's colours or, of latents, those of its pictures.

    Raises:
        InputError: when the field has no surface.
        StageFailedError: when memory does not suffice.
    """
    with enough_memory(f"{task.name} of {task.subject}, its mesh", lambda: "lower mesh.resolution"):
        mesh = mesh_of(task.field, parameters)
        mesh = mesh if mesh.colours is not None else painted(mesh, task.field, task.seen)
    return replace(mesh, vertices=mesh.vertices / task.scale)


def seen_in_place(task: FieldTask) -> Callable[[View], Float[Tensor, "3 h w"]]:
    """The field's picture from a camera in the object's world."""
    return lambda camera: task.seen(scaled(camera, task.scale))


def write_files(path: Path, mesh: TriangleMesh, texture: TextureParameters) -> dict[str, Any]:
    """Write a mesh as a textured GLB, and beside it a PLY of all its vertices with their colours.

    The PLY comes first: should Blender fail, it is there. A surface that is not closed is written, and told of afterwards.

    Returns:
        What `write_textured` tells of the GLB.

    Raises:
        InputError: when the mesh has no colours, or the file another ending than `.glb`.
        StageFailedError: when Blender fails, or the surface is not closed.
    """
    check_target(path)
    plain = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=_bytes(mesh), process=False)
    write_bytes(path.with_suffix(".ply"), cast(bytes, plain.export(file_type="ply", vertex_normal=False)))
    made = write_textured(path, mesh, texture)
    if mesh.open_edges:
        raise StageFailedError(
            f"{path}: the surface is open along {mesh.open_edges} edges and bounds no volume; it was written all the same",
            "another mesh.resolution or mesh.threshold may close it, or Blender's Fill Holes",
            OPEN_SURFACE,
        )
    return made


def _bytes(mesh: TriangleMesh) -> Any:  # noqa: ANN401 - an array or none
    return None if mesh.colours is None else (mesh.colours.clip(0.0, 1.0) * 255.0).round().astype("uint8")
