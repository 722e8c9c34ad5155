"""How near a picture is to the true one, by formulas: PSNR and SSIM. Of rendered views, of Gaussians, of a model's predictions.

Pictures are RGB in [0, 1], not quantised; every figure is of one picture.
"""

import numpy as np
from jaxtyping import Float
from skimage.metrics import mean_squared_error, structural_similarity

from stage.errors import InputError

# Equal pictures have an infinite PSNR, which no JSON number and no mean can hold.
MAX_PSNR = 100.0
SSIM_WINDOW = 11


def psnr(prediction: Float[np.ndarray, "h w 3"], target: Float[np.ndarray, "h w 3"]) -> float:
    """Peak signal-to-noise ratio, dB: 10·log10(1 / MSE), the MSE over all pixels and the three channels.

    At most `MAX_PSNR`, which equal pictures get.
    """
    error = float(mean_squared_error(prediction.astype(np.float64), target.astype(np.float64)))
    floor = 10.0 ** (-MAX_PSNR / 10.0)
    return 10.0 * float(np.log10(1.0 / max(error, floor)))


def ssim(prediction: Float[np.ndarray, "h w 3"], target: Float[np.ndarray, "h w 3"]) -> float:
    """Structural similarity (Wang et al. 2004), the mean over pixels and the three channels.

    Gaussian window with σ = 1.5 cut to 11×11, population covariances, K1 = 0.01, K2 = 0.03, data range 1; the 5 pixels
    along each edge, where the window leaves the picture, do not count. SyncDreamer's and ViewFusion's evaluators
    (torchmetrics) take the same window.

    Raises:
        InputError: when the picture is smaller than the window.
    """
    if min(target.shape[:2]) < SSIM_WINDOW:
        raise InputError(
            f"SSIM needs pictures of {SSIM_WINDOW} pixels or more, these have {min(target.shape[:2])}",
            "raise render.resolution",
        )
    value = structural_similarity(
        prediction.astype(np.float64),
        target.astype(np.float64),
        channel_axis=-1,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)
