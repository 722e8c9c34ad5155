"""Where the surfaces of a composed object or room are, from its recipe alone."""

import numpy as np
from scipy.spatial.transform import Rotation

from catalog.procedural_meshes import build_mesh
from catalog.procedural_parts import Group, ObjectRecipe, Part


def world_transforms(description: ObjectRecipe) -> dict[str, np.ndarray]:
    """4×4 world transform of every node."""
    world: dict[str | None, np.ndarray] = {None: np.eye(4)}
    nodes: tuple[Group | Part, ...] = (*description.groups, *description.parts)
    for node in nodes:
        local = np.eye(4)
        if isinstance(node, Part):
            local[:3, :3] = Rotation.from_euler("xyz", node.rotation).as_matrix()
        else:
            local[:3, :3] = node.scale * Rotation.from_euler("z", node.turn).as_matrix()
        local[:3, 3] = node.position
        # Raises KeyError for a parent that comes later or not at all.
        world[node.name] = world[node.parent] @ local
    return {name: matrix for name, matrix in world.items() if name is not None}


def world_triangles(description: ObjectRecipe) -> dict[str, np.ndarray]:
    """Triangles [F, 3, 3] of every part, world coordinates."""
    world, found = world_transforms(description), {}
    for part in description.parts:
        mesh, matrix = build_mesh(part.shape, part.size, part.profile), world[part.name]
        found[part.name] = (mesh.vertices @ matrix[:3, :3].T + matrix[:3, 3])[mesh.faces]
    return found


def winding_number(point: np.ndarray, triangles: np.ndarray) -> float:
    """How many closed surfaces a point is in: solid angles of all triangles over 4π (van Oosterom and Strackee, 1983)."""
    a, b, c = np.moveaxis(triangles - point, 1, 0)
    x, y, z = (np.linalg.norm(side, axis=1) for side in (a, b, c))
    above = (a * np.cross(b, c)).sum(axis=1)
    below = x * y * z + (a * b).sum(axis=1) * z + (b * c).sum(axis=1) * x + (c * a).sum(axis=1) * y
    return float(np.arctan2(above, below).sum() / (2.0 * np.pi))
