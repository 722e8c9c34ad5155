"""Views for tests of systems, made by hand."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from systems.trainable import Views


def views_of(rgba: UInt8[Tensor, "b v h w 4"], c2w: Float[Tensor, "b v 4 4"]) -> Views:
    """Views of a lens as wide as the picture, of scenes of which no scale is known."""
    samples, views, size = rgba.shape[:3]
    return Views(
        uids=tuple(f"object {number}" for number in range(samples)),
        numbers=np.tile(np.arange(views), (samples, 1)),
        rgba=rgba,
        c2w=c2w,
        intrinsics=torch.tensor([size, size, size / 2, size / 2]).expand(samples, views, 4),
        scales=torch.full((samples, views, 3), torch.nan),
    )
