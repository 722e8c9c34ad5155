"""Sets of 3D Gaussians in memory: checked float32 arrays in world units, colours and opacities in [0, 1].

World: right-handed, Z up. A Gaussian's covariance is R·diag(scales²)·Rᵀ with R the rotation of its quaternion, wxyz
(Kerbl et al. 2023, "3D Gaussian Splatting for Real-Time Radiance Field Rendering", eq. 6).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int

from stage.errors import InputError

_COLUMNS = {"means": (3,), "quaternions": (4,), "scales": (3,), "opacities": (), "colours": (3,)}
_NEVER_ZERO = 1e-12


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
    """RGB in [0, 1], sRGB."""

    def __post_init__(self) -> None:
        for field in fields(self):
            # Writing through the freeze: this is still construction.
            object.__setattr__(self, field.name, np.ascontiguousarray(getattr(self, field.name), dtype=np.float32))
        self._check_shapes()
        for field in fields(self):
            _require(np.isfinite(getattr(self, field.name)), field.name, "is not finite")
        self._check_ranges()
        length = np.linalg.norm(self.quaternions, axis=1, keepdims=True)
        # A quaternion of unit length keeps its bits, so that saving and loading twice changes nothing.
        unit = np.abs(length - 1.0) < 1e-6
        object.__setattr__(self, "quaternions", np.where(unit, self.quaternions, self.quaternions / length))

    def _check_shapes(self) -> None:
        count = self.means.shape[0] if self.means.ndim else 0
        for name, columns in _COLUMNS.items():
            shape, expected = getattr(self, name).shape, (count, *columns)
            if shape != expected:
                raise InputError(f"Gaussians: {name} has shape {shape} where {expected} is expected")

    def _check_ranges(self) -> None:
        _require(np.linalg.norm(self.quaternions, axis=1) > _NEVER_ZERO, "quaternions", "has no length")
        _require(self.scales > 0.0, "scales", "is not positive")
        for name in ("opacities", "colours"):
            values = getattr(self, name)
            _require((values >= 0.0) & (values <= 1.0), name, "lies outside [0, 1]")

    def __len__(self) -> int:
        return int(self.means.shape[0])

    def select(self, chosen: Bool[np.ndarray, " n"] | Int[np.ndarray, " k"]) -> "Gaussians":
        """The Gaussians that a mask or an array of indices picks, in that order."""
        return Gaussians(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def concatenate(parts: Sequence[Gaussians]) -> Gaussians:
    """All Gaussians of `parts` in order; none of no parts."""
    if not parts:
        return Gaussians(**{name: np.zeros((0, *columns)) for name, columns in _COLUMNS.items()})
    return Gaussians(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS})


def _require(good: Bool[np.ndarray, "n ..."], name: str, complaint: str) -> None:
    """Raise an InputError that names the array, how many of its rows are bad, and the first of them."""
    bad = np.flatnonzero(~good.all(axis=tuple(range(1, good.ndim))))
    if bad.size:
        raise InputError(f"Gaussians: {name} {complaint} in {bad.size} of {len(good)} rows, first in row {bad[0]}")
