"""What one view's depth says of another view: points carried over, and how they compare with the depth found there."""

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np
from render_support import Rendered, back_projected

from blender_render.passes import load_depth
from blender_render.protocols import View
from blender_render.rendered_object import read_views
from geometry.cameras import project


def views_and_depths(rendered: Rendered, title: str) -> list[tuple[View, np.ndarray]]:
    folder = rendered.folder(title)
    return [(view, load_depth(folder / f"{number:03d}_depth.png")) for number, view in enumerate(read_views(folder))]


def reprojected(rendered: Rendered, turn: Sequence[float] = (1, 1, 1)) -> Iterator[tuple[np.ndarray, ...]]:
    """Surface points of each view in each other view: pixels, planar depths, and that view's own depth pass."""
    for asset in rendered.assets:
        for (view, depth), (other, other_depth) in permutations(views_and_depths(rendered, asset.title), 2):
            points = back_projected(depth, view.c2w, view.intrinsics) * turn
            pixels, z = project(points, other.c2w, other.intrinsics)
            yield pixels, z, other_depth


def share_in_front(pixels: np.ndarray, z: np.ndarray, depth: np.ndarray) -> float:
    """Share of points more than a pixel's width in front of everything around their pixel."""
    column, row = np.floor(pixels).astype(int).T
    inside = (column >= 1) & (row >= 1) & (column < depth.shape[1] - 1) & (row < depth.shape[0] - 1)
    around = np.stack([depth[row[inside] + y, column[inside] + x] for y in (-1, 0, 1) for x in (-1, 0, 1)])
    nearest = np.where(around > 0, around, np.inf).min(axis=0)
    return float((z[inside] < nearest - 0.05).mean())


def interpolation_errors(pixels: np.ndarray, z: np.ndarray, depth: np.ndarray, centre: float) -> np.ndarray:
    """Depth interpolated between four pixels of one smooth surface, less the depth that the point should have."""
    corner = np.floor(pixels - centre).astype(int)
    inside = ((corner >= 0) & (corner < depth.shape[0] - 1)).all(axis=1)
    (column, row), (x, y) = corner[inside].T, (pixels - centre - corner)[inside].T
    four = np.stack([depth[row, column], depth[row, column + 1], depth[row + 1, column], depth[row + 1, column + 1]])
    value = (four * np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])).sum(axis=0)
    smooth = (four > 0).all(axis=0) & (np.ptp(four, axis=0) < 0.06)
    errors = (value - z[inside])[smooth]
    # Points farther off are hidden behind the surface.
    return errors[np.abs(errors) < 0.05]
