"""Random sets of Gaussians and rotations for tests, the same for the same seed."""

import numpy as np
from scipy.spatial.transform import Rotation

from geometry.gaussians import HARMONIC_COUNTS, Gaussians

FIELDS = ("means", "quaternions", "scales", "opacities", "colours", "harmonics")


def some(count: int = 5, seed: int = 0, degree: int = 0, **changes: np.ndarray) -> Gaussians:
    """Means, scales and colours over many orders of magnitude, as trained Gaussians have them."""
    rng = np.random.default_rng(seed)
    values = {
        "means": rng.normal(size=(count, 3)) * 10.0 ** rng.uniform(-3, 3, (count, 1)),
        "quaternions": rng.normal(size=(count, 4)),
        "scales": 10.0 ** rng.uniform(-8, 2, (count, 3)),
        "opacities": rng.uniform(size=count),
        "colours": rng.uniform(-2, 3, size=(count, 3)),
        "harmonics": rng.normal(size=(count, HARMONIC_COUNTS[degree], 3)),
    }
    return Gaussians(**values | changes)


def cloud(count: int = 30, seed: int = 0, degree: int = 0) -> Gaussians:
    """Gaussians within the unit cube that a camera can see, RGB in [0, 1]."""
    rng = np.random.default_rng(seed)
    return some(
        count,
        seed,
        degree,
        means=rng.uniform(-0.5, 0.5, (count, 3)),
        scales=10.0 ** rng.uniform(-2, -1, (count, 3)),
        colours=rng.uniform(size=(count, 3)),
    )


def rotation(seed: int) -> np.ndarray:
    """A rotation matrix, of all with equal chance."""
    return Rotation.random(random_state=np.random.default_rng(seed)).as_matrix()


def covariances(gaussians: Gaussians) -> np.ndarray:
    """R·diag(s²)·Rᵀ in float64, (n, 3, 3)."""
    axes = Rotation.from_quat(gaussians.quaternions.astype(float), scalar_first=True).as_matrix()
    axes = axes * gaussians.scales[:, None, :].astype(float)
    return axes @ axes.transpose(0, 2, 1)
