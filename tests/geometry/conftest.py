"""Views of an analytic sphere."""

from collections.abc import Callable

import numpy as np
import pytest
from sphere_support import Passes, cast_sphere

from geometry.cameras import Intrinsics, look_at_origin


@pytest.fixture(scope="session")
def sphere_passes() -> Callable[..., Passes]:
    """Passes of the sphere of radius 0.5 from (θ, φ, r), at a square size and a field of view of 49.1°."""

    def passes(polar: float, azimuth: float, radius: float = 1.6, size: int = 64) -> Passes:
        return cast_sphere(look_at_origin(polar, azimuth, radius), Intrinsics.from_fov(np.radians(49.1), size))

    return passes
