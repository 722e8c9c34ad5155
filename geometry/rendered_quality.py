"""How near pictures of Gaussians are to the true ones: PSNR, SSIM and alpha-IoU, a score a camera."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float

from geometry.cameras import Intrinsics
from geometry.gaussian_tensors import GaussianTensors
from geometry.picture_metrics import psnr, ssim
from geometry.rasterizer import rasterize

SCORES = ("psnr", "ssim", "alpha_iou")


def rendered_scores(
    gaussians: GaussianTensors,
    truth: Float[np.ndarray, "v h w 3"],
    covered: Bool[np.ndarray, "v h w"],
    c2w: Float[np.ndarray, "v 4 4"],
    intrinsics: Sequence[Intrinsics],
) -> dict[str, list[float]]:
    """PSNR in dB, SSIM, and alpha-IoU, the intersection over the union of what is covered by more than half; of each camera.

    Args:
        gaussians: are rasterised on white.
        truth: pictures on white, RGB in [0, 1].
        covered: which of their pixels the object covers by half or more.
        c2w: camera-to-world of each, OpenGL axes.
        intrinsics: of each, all of the pictures' width and height.

    Raises:
        InputError: when the cameras do not fit together, or pictures are smaller than SSIM's window.
    """
    with torch.no_grad():
        seen = rasterize(gaussians, c2w, intrinsics)
    pictures, alphas = seen.rgb.cpu().numpy().clip(0.0, 1.0), seen.alpha.cpu().numpy()
    rows = [
        (psnr(made, true), ssim(made, true), _overlap(alpha > 0.5, mask))
        for made, alpha, true, mask in zip(pictures, alphas, truth, covered, strict=True)
    ]
    return {name: list(values) for name, values in zip(SCORES, zip(*rows, strict=True), strict=True)}


def _overlap(one: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]) -> float:
    either = int((one | other).sum())
    # Two empty pictures agree.
    return float((one & other).sum() / either) if either else 1.0
