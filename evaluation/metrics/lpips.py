"""LPIPS where it is really installed."""

import importlib.metadata
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from geometry.perceptual import Unavailable, find_lpips_network


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
