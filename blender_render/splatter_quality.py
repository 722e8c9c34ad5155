"""How near pictures of Gaussians are to Blender's, from cameras that the Gaussians were not made from.

On white, at the resolution of the shots: `geometry.rendered_quality`.
"""

from collections.abc import Sequence

import numpy as np

from blender_render.closed_form import Shot
from blender_render.rendered_object import on_white
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians
from geometry.rendered_quality import rendered_scores


def quality(gaussians: Gaussians, shots: Sequence[Shot]) -> dict[str, list[float]]:
    """PSNR, SSIM and alpha-IoU of the Gaussians from the camera of each shot."""
    rgba = np.stack([shot.rgba for shot in shots])
    scores = rendered_scores(
        GaussianTensors.of(gaussians),
        on_white(rgba),
        rgba[..., 3] > 127,
        np.stack([shot.view.c2w for shot in shots]),
        [shot.view.intrinsics for shot in shots],
    )
    return {name: [round(value, 4) for value in values] for name, values in scores.items()}
