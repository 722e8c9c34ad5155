"""Passes of rectangles that face along x, cast in numpy: edges and occlusion where the truth is known by hand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from passes_support import Passes

from geometry.cameras import Intrinsics, opencv_from_opengl


@dataclass(frozen=True)
class Rectangle:
    """A square in the plane x, around the x axis, with half the side and one colour."""

    x: float
    half: float
    colour: tuple[float, float, float]


def cast_rectangles(rectangles: Sequence[Rectangle], c2w: np.ndarray, intrinsics: Intrinsics) -> Passes:
    axes = opencv_from_opengl(c2w)
    rows, columns = np.mgrid[: intrinsics.height, : intrinsics.width] + 0.5
    x, y = (columns - intrinsics.cx) / intrinsics.fx, (rows - intrinsics.cy) / intrinsics.fy
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ axes[:3, :3].T
    depth, rgb = np.full(x.shape, np.inf), np.zeros((*x.shape, 3))
    for rectangle in rectangles:
        away = (rectangle.x - c2w[0, 3]) / rays[..., 0]
        inside = np.abs(c2w[1:3, 3] + away[..., None] * rays[..., 1:]).max(axis=-1) <= rectangle.half
        nearer = inside & (away > 0) & (away < depth)
        depth, rgb = np.where(nearer, away, depth), np.where(nearer[..., None], rectangle.colour, rgb)
    depth = np.where(np.isfinite(depth), depth, 0.0)
    position = np.where(depth[..., None] > 0, c2w[:3, 3] + depth[..., None] * rays, 0.0)
    normal = np.where(depth[..., None] > 0, [1.0, 0.0, 0.0], 0.0)
    return Passes(rgb, position, depth, normal, c2w, intrinsics)
