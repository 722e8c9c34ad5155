"""Similarities of space: turn, scale by one factor, move. What an object's frame differs by from another's."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from stage.errors import InputError

# A rotation that was computed in float32 is orthogonal to about 1e-6.
_ORTHOGONAL = 1e-5


@dataclass(frozen=True, eq=False)
class Similarity:
    """x ↦ scale · R · x + translation.

    Raises:
        InputError: when R is no rotation (mirrors are none), the scale is not positive, or a number is not finite.
    """

    rotation: Float[np.ndarray, "3 3"]
    """R."""
    scale: float = 1.0
    """Positive."""
    translation: Float[np.ndarray, "3"] | tuple[float, float, float] = (0.0, 0.0, 0.0)
    """World units of the result."""

    def __post_init__(self) -> None:
        rotation = np.array(self.rotation, dtype=np.float64)
        translation = np.array(self.translation, dtype=np.float64)
        if rotation.shape != (3, 3) or translation.shape != (3,):
            raise InputError(
                f"similarity: rotation {rotation.shape} and translation {translation.shape} are not 3×3 and 3"
            )
        # Comparisons with NaN are false, so numbers that are not finite are refused too.
        orthogonal = np.abs(rotation @ rotation.T - np.eye(3)).max() < _ORTHOGONAL
        if not (orthogonal and np.linalg.det(rotation) > 0.0):
            raise InputError("similarity: its matrix is no rotation", "give an orthogonal one of determinant 1")
        if not (0.0 < self.scale < np.inf and np.isfinite(translation).all()):
            raise InputError(f"similarity: scale {self.scale} or translation {translation} is out of range")
        # Writing through the freeze: this is still construction.
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", translation)

    def apply(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """The points' images."""
        return self.scale * np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation

    def inverse(self) -> "Similarity":
        """The similarity that undoes this one."""
        back = -(np.asarray(self.translation) @ self.rotation) / self.scale
        return Similarity(self.rotation.T, 1.0 / self.scale, back)
