"""Sets of 3D Gaussians in memory: checked float32 arrays in world units.

World: right-handed, Z up. A Gaussian's covariance is R·diag(scales²)·Rᵀ with R the rotation of its quaternion, wxyz
(Kerbl et al. 2023, "3D Gaussian Splatting for Real-Time Radiance Field Rendering", eq. 6). Its colour may depend on the
direction it is seen from (`geometry.spherical_harmonics`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from jaxtyping import Bool, Float, Int

from stage.errors import InputError

# Coefficients of the degrees 1 and above, for harmonics up to degree 0, 1, 2 and 3.
HARMONIC_COUNTS = (0, 3, 8, 15)
# Quaternions shorter than this have no direction.
LEAST_LENGTH = 1e-12

_COLUMNS = {"means": (3,), "quaternions": (4,), "scales": (3,), "opacities": (), "colours": (3,)}


def _no_harmonics() -> Float[np.ndarray, "0 0 3"]:
    return np.zeros((0, 0, 3))


@dataclass(frozen=True, eq=False)
class Gaussians:
    """n Gaussians; every array is converted to contiguous float32, and quaternions to unit length.

    Raises:
        InputError: when shapes disagree, a value is not finite or lies outside its range.
    """

    means: Float[np.ndarray, "n 3"]
    """Centres, world units."""
    quaternions: Float[np.ndarray, "n 4"]
    """Rotations from the Gaussian's own axes to the world, wxyz."""
    scales: Float[np.ndarray, "n 3"]
    """Standard deviations along the Gaussian's own axes, world units, positive."""
    opacities: Float[np.ndarray, " n"]
    """Peak opacities in [0, 1]."""
    colours: Float[np.ndarray, "n 3"]
    """RGB, sRGB: the part that is the same from everywhere. Ours lie in [0, 1]; trained Gaussians leave it."""
    harmonics: Float[np.ndarray, "n k 3"] = field(default_factory=_no_harmonics)
    """Coefficients of the spherical harmonics of degree 1 and above, RGB; k is 0 (the default), 3, 8 or 15."""

    def __post_init__(self) -> None:
        if np.shape(self.harmonics)[1:] == (0, 3):
            object.__setattr__(self, "harmonics", np.zeros((len(self.means), 0, 3)))
        for each in fields(self):
            # Writing through the freeze: this is still construction.
            object.__setattr__(self, each.name, np.ascontiguousarray(getattr(self, each.name), dtype=np.float32))
        self._check_shapes()
        for each in fields(self):
            _require(np.isfinite(getattr(self, each.name)), each.name, "is not finite")
        self._check_ranges()
        # In float64: the square of a large float32 is infinite.
        length = np.linalg.norm(self.quaternions.astype(np.float64), axis=1, keepdims=True)
        # A quaternion of unit length keeps its bits, so that saving and loading twice changes nothing.
        unit = np.abs(length - 1.0) < 1e-6
        quaternions = np.where(unit, self.quaternions, self.quaternions / length)
        object.__setattr__(self, "quaternions", quaternions.astype(np.float32))

    def _check_shapes(self) -> None:
        count = self.means.shape[0] if self.means.ndim else 0
        for name, columns in _COLUMNS.items():
            shape, expected = getattr(self, name).shape, (count, *columns)
            if shape != expected:
                raise InputError(f"Gaussians: {name} has shape {shape} where {expected} is expected")
        allowed = [(count, harmonics, 3) for harmonics in HARMONIC_COUNTS]
        if self.harmonics.shape not in allowed:
            wanted = f"({count}, 0 or 3 or 8 or 15, 3)"
            raise InputError(f"Gaussians: harmonics has shape {self.harmonics.shape} where {wanted} is expected")

    def _check_ranges(self) -> None:
        length = np.linalg.norm(self.quaternions.astype(np.float64), axis=1)
        _require(length > LEAST_LENGTH, "quaternions", "has no length")
        _require(self.scales > 0.0, "scales", "is not positive")
        _require((self.opacities >= 0.0) & (self.opacities <= 1.0), "opacities", "lies outside [0, 1]")

    def __len__(self) -> int:
        return int(self.means.shape[0])

    def select(self, chosen: Bool[np.ndarray, " n"] | Int[np.ndarray, " k"]) -> "Gaussians":
        """The Gaussians that a mask or an array of indices picks, in that order."""
        return Gaussians(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})


def concatenate(parts: Sequence[Gaussians]) -> Gaussians:
    """All Gaussians of `parts` in order, with harmonics up to the highest degree among them; none of no parts."""
    if not parts:
        return Gaussians(**{name: np.zeros((0, *columns)) for name, columns in _COLUMNS.items()})
    count = max(part.harmonics.shape[1] for part in parts)
    harmonics = [np.pad(part.harmonics, ((0, 0), (0, count - part.harmonics.shape[1]), (0, 0))) for part in parts]
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    return Gaussians(**joined, harmonics=np.concatenate(harmonics))


def _require(good: Bool[np.ndarray, "n ..."], name: str, complaint: str) -> None:
    """Raise an InputError that names the array, how many of its rows are bad, and the first of them."""
    bad = np.flatnonzero(~good.all(axis=tuple(range(1, good.ndim))))
    if bad.size:
        raise InputError(f"Gaussians: {name} {complaint} in {bad.size} of {len(good)} rows, first in row {bad[0]}")
