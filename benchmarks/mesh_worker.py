"""Worker function of `benchmarks.mesh`, which `stage.worker_host` runs: points on what can be seen of an asset."""

from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Vector
from mathutils.bvhtree import BVHTree

from blender_render.asset_import import import_asset
from blender_render.parameters import AssetParameters
from blender_render.scene import normalise
from stage.files import replacing

# Off the surface, so that a ray does not meet the face that it starts from.
_LIFT = 1e-4
_FAR = 10.0


def sample_surface(payload: dict[str, Any]) -> dict[str, Any]:
    """Write points on an asset in our frame, centred and its longest side 1, as `points` (n, 3) of an `.npz` file.

    Parts of composed objects lie inside one another; points from which no ray gets out are left out.

    Args:
        payload: "asset", its file; "up_axis"; "points", how many are tried; "directions", (d, 3) in which rays are sent;
            "seed"; "output", the file to write.
    """
    import_asset(Path(payload["asset"]), payload["up_axis"], AssetParameters())
    normalise()
    triangles = _triangles()
    points, normals = _sampled(triangles, payload["points"], np.random.default_rng(payload["seed"]))
    tree = BVHTree.FromPolygons(
        triangles.reshape(-1, 3).tolist(), np.arange(3 * len(triangles)).reshape(-1, 3).tolist()
    )
    directions = np.array(payload["directions"])
    kept = [_gets_out(tree, *pair, directions) for pair in zip(points, normals, strict=True)]
    with replacing(Path(payload["output"])) as temporary, temporary.open("wb") as stream:
        np.savez(stream, points=points[kept])
    return {"triangles": len(triangles), "seen": float(np.mean(kept))}


def _gets_out(tree: BVHTree, point: np.ndarray, normal: np.ndarray, directions: np.ndarray) -> bool:
    for direction in directions:
        side = np.copysign(_LIFT, direction @ normal) * normal
        if tree.ray_cast(Vector(point + side), Vector(direction), _FAR)[0] is None:
            return True
    return False


def _triangles() -> np.ndarray:
    """All triangles that would be rendered, (t, 3, 3)."""
    parts = []
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        if instance.object.type == "MESH" and (instance.is_instance or not instance.object.hide_render):
            matrix = np.array(instance.matrix_world)
            parts.append(_of_mesh(instance.object.data) @ matrix[:3, :3].T + matrix[:3, 3])
    return np.concatenate(parts)


def _of_mesh(mesh: "bpy.types.Mesh") -> np.ndarray:
    mesh.calc_loop_triangles()
    positions, corners = np.empty(3 * len(mesh.vertices)), np.empty(3 * len(mesh.loop_triangles), dtype=np.int32)
    mesh.vertices.foreach_get("co", positions)
    mesh.loop_triangles.foreach_get("vertices", corners)
    return positions.reshape(-1, 3)[corners.reshape(-1, 3)]


def _sampled(triangles: np.ndarray, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points uniform by area, and the unit normals of their triangles."""
    one, two = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    cross = np.cross(one, two)
    doubled = np.linalg.norm(cross, axis=1)
    chosen = generator.choice(len(triangles), count, p=doubled / doubled.sum())
    u, v = generator.random((2, count, 1))
    folded = u + v > 1.0
    u, v = np.where(folded, 1.0 - u, u), np.where(folded, 1.0 - v, v)
    return triangles[chosen, 0] + u * one[chosen] + v * two[chosen], cross[chosen] / doubled[chosen, None]
