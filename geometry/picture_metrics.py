"""How near a picture is to the true one, by formulas: PSNR and SSIM. Of rendered views, of Gaussians, of a model's predictions.

Pictures are RGB in [0, 1], not quantised; every figure is of one picture.
"""

import cv2
import numpy as np
from jaxtyping import Float
from skimage.metrics import mean_squared_error

from stage.errors import InputError

# Equal pictures have an infinite PSNR, which no JSON number and no mean can hold.
MAX_PSNR = 100.0
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
_BORDER = SSIM_WINDOW // 2
_K1, _K2 = 0.01, 0.03


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
    along each edge, where the window leaves the picture, do not count. Equal to scikit-image's `structural_similarity` with
    these settings, in less than half its time: OpenCV filters, and the two variances, which appear only as their sum, share a
    filter.

    Raises:
        InputError: when the picture is smaller than the window.
    """
    if min(target.shape[:2]) < SSIM_WINDOW:
        raise InputError(
            f"SSIM needs pictures of {SSIM_WINDOW} pixels or more, these have {min(target.shape[:2])}",
            "take larger pictures, or leave SSIM out",
        )
    x, y = prediction.astype(np.float64), target.astype(np.float64)
    mean_x, mean_y = _windowed(x), _windowed(y)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance = _windowed(x * y) - product
    variances = _windowed(x * x + y * y) - squares
    luminance = (2.0 * product + _K1**2) / (squares + _K1**2)
    return float((luminance * (2.0 * covariance + _K2**2) / (variances + _K2**2)).mean())


def _windowed(values: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "hi wi 3"]:
    """Means under SSIM's window at each place where it fits."""
    taps = cv2.getGaussianKernel(SSIM_WINDOW, SSIM_SIGMA, cv2.CV_64F)
    return cv2.sepFilter2D(values, cv2.CV_64F, taps, taps)[_BORDER:-_BORDER, _BORDER:-_BORDER]
