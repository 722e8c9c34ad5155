"""Surfaces of known shape made of flat Gaussians, and small parameters for their meshes."""

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from geometry.gaussians import Gaussians, concatenate
from reconstruction.parameters import FusionParameters

RESOLUTION = 40
"""Voxels along the longest side."""
HALF = np.array([0.5, 0.3, 0.4])
"""Half sides of the box."""
SIDES = {(0, 1): (0.9, 0.1, 0.1), (0, -1): (0.1, 0.8, 0.8), (1, 1): (0.1, 0.7, 0.1)}
SIDES |= {(1, -1): (0.8, 0.2, 0.8), (2, 1): (0.1, 0.1, 0.9), (2, -1): (0.9, 0.8, 0.1)}
"""Colours by axis and sign: red at +X, blue on top."""


def small(**values: Any) -> FusionParameters:
    """A mesh in a second or two."""
    return FusionParameters(**{"resolution": RESOLUTION, "views": 16, "view_size": 80, "surface": "depth"} | values)


def flat(points: np.ndarray, normals: np.ndarray, colours: np.ndarray, spread: float, opacity: float) -> Gaussians:
    """Discs of a standard deviation across their normals, and a tenth of it along them."""
    z = np.tile([[0.0, 0.0, 1.0]], (len(points), 1))
    axis = np.cross(z, normals)
    length = np.linalg.norm(axis, axis=1, keepdims=True)
    axis = np.where(length > 1e-9, axis / np.maximum(length, 1e-9), [[1.0, 0.0, 0.0]])
    turns = Rotation.from_rotvec(axis * np.arccos(normals[:, 2:].clip(-1, 1)))
    scales = np.tile([spread, spread, 0.1 * spread], (len(points), 1))
    return Gaussians(points, turns.as_quat(scalar_first=True), scales, np.full(len(points), opacity), colours)


def sphere(radius: float = 0.5, count: int = 4000, opacity: float = 0.95, spread: float | None = None) -> Gaussians:
    """A sphere coloured by direction, (n + 1) / 2."""
    height = 1.0 - 2.0 * (np.arange(count) + 0.5) / count
    azimuth = np.arange(count) * np.pi * (3.0 - np.sqrt(5.0))
    ring = np.sqrt(1.0 - height**2)
    normals = np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), height], axis=1)
    spacing = radius * np.sqrt(4.0 * np.pi / count)
    return flat(radius * normals, normals, 0.5 * normals + 0.5, spread or 0.6 * spacing, opacity)


def box(spacing: float = 0.02) -> Gaussians:
    """A box of 1 × 0.6 × 0.8 with a colour for each side."""
    sides = []
    for (axis, sign), colour in SIDES.items():
        others = [other for other in range(3) if other != axis]
        steps = [
            np.linspace(-HALF[o] + spacing / 2, HALF[o] - spacing / 2, round(2 * HALF[o] / spacing)) for o in others
        ]
        grid = np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, 2)
        points, normals = np.full((len(grid), 3), sign * HALF[axis]), np.zeros((len(grid), 3))
        points[:, others], normals[:, axis] = grid, sign
        sides.append(flat(points, normals, np.tile(colour, (len(grid), 1)), 0.5 * spacing, 0.95))
    return concatenate(sides)


def distance_to_box(points: np.ndarray) -> np.ndarray:
    """Signed distance of points to the surface of the box (Quilez, "Distance functions")."""
    beyond = np.abs(points) - HALF
    return np.linalg.norm(beyond.clip(min=0.0), axis=1) + np.minimum(beyond.max(axis=1), 0.0)
