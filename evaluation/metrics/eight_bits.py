"""Pictures as bytes, which several figures are defined on."""

import numpy as np
from jaxtyping import Float, UInt8


def eight_bits(pictures: Float[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
    """Pictures in [0, 1] rounded to the nearest of 256 levels."""
    return np.rint(np.clip(pictures, 0.0, 1.0) * 255.0).astype(np.uint8)
