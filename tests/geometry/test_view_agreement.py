"""How far views disagree: which pixels see the same place, and how far apart they say it is."""

import numpy as np
import pytest

from geometry.cameras import Intrinsics, look_at_origin
from geometry.view_agreement import disagreement, shared_pixels

SIDE = 9
LENS = Intrinsics.from_fov(0.6, SIDE)


def sphere(c2w: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """What every pixel sees of a sphere about the origin, and whether it sees it."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    x, y = (columns - LENS.cx) / LENS.fx, (rows - LENS.cy) / LENS.fy
    rays = np.stack([x, -y, -np.ones_like(x)], axis=-1) @ c2w[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    along = -(rays @ c2w[:3, 3])
    inside = radius**2 - (np.sum(c2w[:3, 3] ** 2) - along**2)
    distance = along - np.sqrt(np.maximum(inside, 0.0))
    return c2w[:3, 3] + distance[..., None] * rays, inside > 0.0


def views(azimuths: list[float], radius: float = 0.4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    c2w = np.stack([look_at_origin(np.pi / 2, azimuth, 2.0) for azimuth in azimuths])
    points, valid = zip(*(sphere(one, radius) for one in c2w), strict=True)
    return np.stack(points), np.stack(valid), c2w


def test_a_view_agrees_with_itself_pixel_by_pixel() -> None:
    points, valid, c2w = views([0.3, 0.3])
    pairs = shared_pixels(points, valid, c2w, [LENS] * 2)
    # Each sees in the other what it sees itself.
    assert len(pairs) == valid.sum()
    assert (np.abs(pairs[:, 0] - pairs[:, 1]) == SIDE * SIDE).all()
    assert disagreement(points, pairs) == 0.0


def test_opposite_views_share_nothing() -> None:
    points, valid, c2w = views([0.0, np.pi])
    assert len(shared_pixels(points, valid, c2w, [LENS] * 2)) == 0


def test_background_and_what_stands_before_are_not_shared() -> None:
    points, valid, c2w = views([0.0, 0.5])
    pairs = shared_pixels(points, valid, c2w, [LENS] * 2)
    assert 0 < len(pairs) < valid.sum()
    assert valid.reshape(-1)[pairs].all()
    # A nearer sphere in the second view hides the first one's places.
    nearer, covered = sphere(c2w[1], 1.2)
    hidden = shared_pixels(np.stack([points[0], nearer]), np.stack([valid[0], covered]), c2w, [LENS] * 2)
    assert len(hidden) == 0


def test_places_that_are_moved_apart_disagree_by_as_much() -> None:
    points, valid, c2w = views([0.2, 0.2])
    pairs = shared_pixels(points, valid, c2w, [LENS] * 2)
    points[1] += [0.3, 0.0, -0.4]
    assert disagreement(points, pairs) == pytest.approx(0.5)


def test_turning_views_disagree_by_no_more_than_pixels_are_apart() -> None:
    points, valid, c2w = views([0.0, 0.4, 0.8])
    pairs = shared_pixels(points, valid, c2w, [LENS] * 3)
    assert 0.0 < disagreement(points, pairs) < 2.0 / LENS.fx
