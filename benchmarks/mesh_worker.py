"""Worker function of `benchmarks.mesh`, which `stage.worker_host` runs: the surface of an asset as it is rendered."""

from pathlib import Path
from typing import Any

import bpy
import numpy as np

from blender_render.asset_import import import_asset
from blender_render.parameters import AssetParameters
from blender_render.scene import normalise
from stage.files import replacing


def export_surface(payload: dict[str, Any]) -> dict[str, Any]:
    """Triangles of an asset in our frame, centred and its longest side 1, as `points` (triangles, 3, 3) of an `.npz` file.

    Args:
        payload: "asset", its file; "up_axis"; "output", the file to write.
    """
    import_asset(Path(payload["asset"]), payload["up_axis"], AssetParameters())
    normalise()
    depsgraph = bpy.context.evaluated_depsgraph_get()
    parts = []
    for instance in depsgraph.object_instances:
        if instance.object.type == "MESH" and (instance.is_instance or not instance.object.hide_render):
            matrix = np.array(instance.matrix_world)
            parts.append(_triangles(instance.object.data) @ matrix[:3, :3].T + matrix[:3, 3])
    points = np.concatenate(parts)
    with replacing(Path(payload["output"])) as temporary, temporary.open("wb") as stream:
        np.savez(stream, points=points)
    return {"triangles": len(points)}


def _triangles(mesh: "bpy.types.Mesh") -> np.ndarray:
    mesh.calc_loop_triangles()
    positions, corners = np.empty(3 * len(mesh.vertices)), np.empty(3 * len(mesh.loop_triangles), dtype=np.int32)
    mesh.vertices.foreach_get("co", positions)
    mesh.loop_triangles.foreach_get("vertices", corners)
    return positions.reshape(-1, 3)[corners.reshape(-1, 3)]
