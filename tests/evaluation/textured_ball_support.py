"""Pictures of a ball with a known texture, consistent by construction: closed form, no renderer."""

import numpy as np
from scipy.ndimage import map_coordinates

from blender_render.camera_sets import View
from geometry.cameras import Intrinsics, look_at_origin

RADIUS = 0.6
_CELLS = 24


def orbit_views(count: int, size: int = 256, polar_deg: float = 60.0) -> list[View]:
    """An even orbit at distance 1.5."""
    lens = Intrinsics.from_fov(np.deg2rad(49.1), size)
    turns = 2 * np.pi * np.arange(count) / count
    return [View(look_at_origin(np.deg2rad(polar_deg), turn, 1.5), lens) for turn in turns]


def ball_pictures(views: list[View], seed: int = 0) -> np.ndarray:
    """What cameras see of the ball, RGB on white."""
    return np.stack([_picture(view, seed) for view in views])


def noisy(pictures: np.ndarray, amount: float) -> np.ndarray:
    """Pictures under the same noise, scaled."""
    noise = np.random.default_rng(0).standard_normal(pictures.shape)
    return np.clip(pictures + amount * noise, 0.0, 1.0)


def _picture(view: View, seed: int) -> np.ndarray:
    lens, centre = view.intrinsics, view.c2w[:3, 3]
    rows, columns = np.mgrid[: lens.height, : lens.width] + 0.5
    rays = np.stack([(columns - lens.cx) / lens.fx, (lens.cy - rows) / lens.fy, -np.ones_like(rows)], axis=-1)
    rays = rays @ view.c2w[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    along = rays @ centre
    inside = along**2 - centre @ centre + RADIUS**2
    hit = inside > 0
    points = centre + (-along - np.sqrt(np.where(hit, inside, 0.0)))[..., None] * rays
    picture = np.ones((lens.height, lens.width, 3), np.float32)
    picture[hit] = _texture(points[hit] / RADIUS, seed)
    return picture


def _texture(directions: np.ndarray, seed: int) -> np.ndarray:
    """Colours of a random grid around the ball, interpolated."""
    grid = np.random.default_rng(seed).random((3, _CELLS, _CELLS, _CELLS))
    places = ((0.99 * directions + 1.0) / 2.0 * (_CELLS - 1)).T
    return np.stack([map_coordinates(channel, places, order=1) for channel in grid], axis=-1)
