"""How near pictures of Gaussians are to Blender's, from cameras that the Gaussians were not made from.

On white, at the resolution of the shots: PSNR and SSIM (`geometry.picture_metrics`), and alpha-IoU, the intersection over
the union of what is covered by half or more.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from blender_render.closed_form import Shot
from blender_render.rendered_object import on_white
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians
from geometry.picture_metrics import psnr, ssim
from geometry.rasterizer import rasterize


def quality(gaussians: Gaussians, shots: Sequence[Shot]) -> dict[str, list[float]]:
    """PSNR, SSIM and alpha-IoU of the Gaussians from the camera of each shot."""
    with torch.no_grad():
        lenses = [shot.view.intrinsics for shot in shots]
        seen = rasterize(GaussianTensors.of(gaussians), np.stack([shot.view.c2w for shot in shots]), lenses)
    pictures, alphas = seen.rgb.cpu().numpy().clip(0.0, 1.0), seen.alpha.cpu().numpy()
    rows = [_scores(*row) for row in zip(pictures, alphas, shots, strict=True)]
    names = ("psnr", "ssim", "alpha_iou")
    return {
        name: [round(value, 4) for value in values]
        for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }


def _scores(
    picture: Float[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"], shot: Shot
) -> tuple[float, float, float]:
    truth = on_white(shot.rgba)
    covered, true = alpha > 0.5, shot.rgba[..., 3] > 127
    either = int((covered | true).sum())
    # Two empty pictures agree.
    overlap = float((covered & true).sum() / either) if either else 1.0
    return psnr(picture, truth), ssim(picture, truth), overlap
