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

from geometry.perceptual import Unavailable, find_lpips_network
from geometry.picture_metrics import psnr, ssim


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
