"""What tests of the closed form are made from: passes as a perfect renderer would deliver them."""

from dataclasses import dataclass

import numpy as np

from geometry.cameras import Intrinsics


@dataclass(frozen=True)
class Passes:
    """The passes of one view, background 0, with the camera they were cast from."""

    rgb: np.ndarray
    position: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    c2w: np.ndarray
    intrinsics: Intrinsics

    @property
    def mask(self) -> np.ndarray:
        """Pixels that see a surface."""
        return self.depth > 0
