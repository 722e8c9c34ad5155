"""What a worker does to get an asset's surface: import and normalise as for rendering, and write down the triangles.

They are those that cameras see, modifiers and instances applied, in the normalised frame (Z up, longest side 1). Materials do
not count: glass is as solid as wood. `surface_object` is called by `stage.worker_host` in a process of its own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from blender_render.rendered_object import RenderJob
from blender_render.surface_files import Triangles, write_triangles
from blender_render.worker import prepare_scene
from stage.files import replacing_folder, write_json
from stage.stopwatch import Stopwatch


def surface_object(payload: dict[str, Any]) -> dict[str, Any]:
    """Write the triangles of one object into its folder, which appears whole or not at all.

    Args:
        payload: a `RenderJob`; its cameras are not looked through.

    Raises:
        ObjectFailedError: with the class of what is wrong with the object.
    """
    job, stopwatch = RenderJob(**payload), Stopwatch()
    with stopwatch.phase("import"):
        record = prepare_scene(job)
        triangles = scene_triangles()
    with replacing_folder(Path(job.output)) as folder:
        write_triangles(folder, triangles)
        write_json(folder / "record.json", record)
    return {"warnings": record["warnings"], "seconds": stopwatch.seconds()}


def scene_triangles() -> Triangles:
    """All that is rendered as one soup of triangles, world units; faces are counter-clockwise seen from outside."""
    parts, first, faces = [], 0, []
    for vertices, triangles in _instances():
        parts.append(vertices)
        faces.append(triangles + first)
        first += len(vertices)
    # A stray vertex may be anywhere, or nowhere.
    used, indices = np.unique(np.concatenate(faces), return_inverse=True)
    return np.concatenate(parts)[used].astype(np.float32), indices.reshape(-1, 3).astype(np.int32)


def _instances() -> Iterator[Triangles]:
    """Each mesh in its place; the same objects as `blender_render.scene` measures."""
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        obj = instance.object
        if obj.type != "MESH" or not len(obj.data.polygons) or (not instance.is_instance and obj.hide_render):
            continue
        mesh, matrix = obj.data, np.array(instance.matrix_world)
        mesh.calc_loop_triangles()
        points, triangles = np.empty(3 * len(mesh.vertices)), np.empty(3 * len(mesh.loop_triangles), dtype=np.int32)
        mesh.vertices.foreach_get("co", points)
        mesh.loop_triangles.foreach_get("vertices", triangles)
        faces = triangles.reshape(-1, 3)
        # A mirror turns a mesh inside out.
        mirrored = np.linalg.det(matrix[:3, :3]) < 0
        yield points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3], faces[:, ::-1] if mirrored else faces
