"""How near a predicted picture is to the true one: PSNR, SSIM, and LPIPS where it is really installed.

Pictures are RGB on white in [0, 1], not quantised. Every metric is of one view; an object's figure is the mean over its
target views, a subset's the mean over its objects.
"""

import importlib.metadata
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from skimage.metrics import mean_squared_error, structural_similarity

from geometry.perceptual import Unavailable, find_lpips_network
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


@dataclass(frozen=True)
class Lpips:
    """Learned perceptual similarity (Zhang et al. 2018) with VGG-16, as the published evaluations take it."""

    network: Any
    version: str

    def __str__(self) -> str:
        return f"lpips {self.version} with VGG-16"

    def __call__(self, prediction: Float[np.ndarray, "h w 3"], target: Float[np.ndarray, "h w 3"]) -> float:
        """The distance of two pictures; 0 for equal ones."""
        pair = torch.from_numpy(np.stack([prediction, target]).astype(np.float32)).permute(0, 3, 1, 2)
        with torch.no_grad():
            return float(self.network(*(pair * 2.0 - 1.0).split(1)))


def find_lpips() -> Lpips | Unavailable:
    """LPIPS if its package, torchvision and the trained backbone are all here; nothing is downloaded or drawn at random."""
    network = find_lpips_network()
    if isinstance(network, Unavailable):
        return network
    return Lpips(network, importlib.metadata.version("lpips"))


def score_views(
    predictions: Float[np.ndarray, "t h w 3"], targets: Float[np.ndarray, "t h w 3"], lpips: Lpips | Unavailable
) -> dict[str, float]:
    """Mean metrics over an object's target views; LPIPS only where it is available."""
    pairs = list(zip(predictions, targets, strict=True))
    scores = {
        "psnr": float(np.mean([psnr(p, t) for p, t in pairs])),
        "ssim": float(np.mean([ssim(p, t) for p, t in pairs])),
    }
    if isinstance(lpips, Lpips):
        scores["lpips"] = float(np.mean([lpips(p, t) for p, t in pairs]))
    return scores
