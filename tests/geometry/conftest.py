"""An analytic sphere with a colour pattern, ray-cast in numpy: the passes a perfect renderer would deliver."""

from collections.abc import Callable

import numpy as np
import pytest
from passes_support import Passes

from geometry.cameras import Intrinsics, look_at_origin, opencv_from_opengl
from geometry.gaussians import Gaussians

RADIUS = 0.5


def pattern(normals: np.ndarray) -> np.ndarray:
    """A smooth colour of the place on the sphere, RGB in [0.1, 0.9]."""
    return 0.5 + 0.4 * np.sin(normals * [7.0, 9.0, 11.0] + [0.3, 1.1, 2.0])


def cast_sphere(c2w: np.ndarray, intrinsics: Intrinsics) -> Passes:
    axes = opencv_from_opengl(c2w)
    rows, columns = np.mgrid[: intrinsics.height, : intrinsics.width] + 0.5
    x, y = (columns - intrinsics.cx) / intrinsics.fx, (rows - intrinsics.cy) / intrinsics.fy
    # Of length 1 along the optical axis, so that the ray parameter is planar depth.
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ axes[:3, :3].T
    origin = axes[:3, 3]
    a, b, c = (rays**2).sum(-1), rays @ origin, origin @ origin - RADIUS**2
    discriminant = b**2 - a * c
    hit = discriminant > 0
    depth = np.where(hit, (-b - np.sqrt(np.maximum(discriminant, 0))) / a, 0.0)
    position = np.where(hit[..., None], origin + depth[..., None] * rays, 0.0)
    normal = position / RADIUS
    rgb = np.where(hit[..., None], pattern(normal), 0.0)
    return Passes(rgb, position, depth, normal, c2w, intrinsics)


@pytest.fixture(scope="session")
def sphere_passes() -> Callable[..., Passes]:
    """Passes of the sphere of radius 0.5 from (θ, φ, r), at a square size and a field of view of 49.1°."""

    def passes(polar: float, azimuth: float, radius: float = 1.6, size: int = 64) -> Passes:
        return cast_sphere(look_at_origin(polar, azimuth, radius), Intrinsics.from_fov(np.radians(49.1), size))

    return passes


@pytest.fixture(scope="session")
def cloud() -> Callable[..., Gaussians]:
    """Makes random Gaussians of all shapes and opacities that overlap around the origin."""

    def gaussians(count: int, seed: int = 0) -> Gaussians:
        rng = np.random.default_rng(seed)
        return Gaussians(
            means=rng.uniform(-0.6, 0.6, (count, 3)),
            quaternions=rng.normal(size=(count, 4)),
            scales=np.exp(rng.uniform(np.log(0.005), np.log(0.3), (count, 3))),
            opacities=rng.uniform(0.05, 1.0, count),
            colours=rng.uniform(size=(count, 3)),
        )

    return gaussians
