"""How far rasterised Gaussians are from pictures: the loss that refinement descends, and the score that it is judged by."""

from typing import Any

import torch
from jaxtyping import Float
from pytorch_msssim import ssim
from torch import Tensor

from geometry.picture_metrics import MAX_PSNR, SSIM_WINDOW
from geometry.rasterizer import Rendering
from geometry.refinement_settings import LossWeights

_LEAST_ERROR = 10.0 ** (-MAX_PSNR / 10.0)


def on_background(rgba: Float[Tensor, "v h w 4"], background: Float[Tensor, "v 3"]) -> Float[Tensor, "v h w 3"]:
    """Pictures with straight alpha composited, each on its own colour."""
    alpha = rgba[..., 3:]
    return rgba[..., :3] * alpha + (1.0 - alpha) * background[:, None, None]


def picture_loss(
    rendering: Rendering,
    rgba: Float[Tensor, "v h w 4"],
    background: Float[Tensor, "v 3"],
    weights: LossWeights,
    lpips: Any | None = None,  # noqa: ANN401 - the network of a package that may be absent
) -> Float[Tensor, ""]:
    """(1 − w)·L1 + w·(1 − SSIM) of colours (Kerbl et al. 2023, eq. 7), plus L1 of alpha, plus LPIPS if its network is given.

    Args:
        rendering: composited on black.
        rgba: the true pictures, sRGB in [0, 1], straight alpha.
        background: RGB that both are composited on, of each view, so that no colour of the object looks like air.
        weights: of the parts.
        lpips: takes two batches (v, 3, h, w) in [−1, 1] and gives v distances.
    """
    made = rendering.rgb + (1.0 - rendering.alpha)[..., None] * background[:, None, None]
    truth = on_background(rgba, background)
    loss = (1.0 - weights.ssim) * (made - truth).abs().mean()
    loss = loss + weights.alpha * (rendering.alpha - rgba[..., 3]).abs().mean()
    if weights.ssim:
        loss = loss + weights.ssim * (1.0 - structural_similarity(made, truth).mean())
    if lpips is not None and weights.lpips:
        loss = (
            loss + weights.lpips * lpips(_channels_first(made) * 2.0 - 1.0, _channels_first(truth) * 2.0 - 1.0).mean()
        )
    return loss


def psnr(made: Float[Tensor, "v h w 3"], truth: Float[Tensor, "v h w 3"]) -> Float[Tensor, " v"]:
    """10·log10(1 / MSE) of each view, dB, data range 1; NaN where a picture has one."""
    errors = (made - truth).square().mean(dim=(1, 2, 3)).clamp(min=_LEAST_ERROR)
    return -10.0 * torch.log10(errors)


def structural_similarity(made: Float[Tensor, "v h w 3"], truth: Float[Tensor, "v h w 3"]) -> Float[Tensor, " v"]:
    """SSIM of each view: Gaussian window of 11 pixels, σ = 1.5, data range 1 (Wang et al. 2004)."""
    pair = _channels_first(made), _channels_first(truth)
    return ssim(*pair, data_range=1.0, win_size=SSIM_WINDOW, size_average=False)


def _channels_first(pictures: Float[Tensor, "v h w 3"]) -> Float[Tensor, "v 3 h w"]:
    return pictures.permute(0, 3, 1, 2)
