"""LPIPS where it is really installed."""

import importlib.metadata
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geometry.perceptual import Backbone, Unavailable, find_lpips_network

# VGG's first features of a pair at 256² take 34 MB.
_BATCH = 8


@dataclass(frozen=True)
class Lpips:
    """Learned perceptual similarity (Zhang et al. 2018)."""

    network: Any
    version: str
    """Of the package."""

    def __call__(
        self, first: Float[np.ndarray, "t h w 3"], second: Float[np.ndarray, "t h w 3"]
    ) -> Float[np.ndarray, " t"]:
        """The distance of each pair; 0 for equal pictures."""
        with torch.no_grad():
            pairs = zip(_batches(first), _batches(second), strict=True)
            distances = [self.network(a, b).reshape(-1) for a, b in pairs]
        return torch.cat(distances).double().numpy()


def find_lpips(backbone: Backbone = "vgg") -> Lpips | Unavailable:
    """LPIPS if its package, torchvision and the trained backbone are all here; nothing is downloaded or drawn at random."""
    network = find_lpips_network(backbone)
    if isinstance(network, Unavailable):
        return network
    return Lpips(network, importlib.metadata.version("lpips"))


def _batches(pictures: Float[np.ndarray, "t h w 3"]) -> tuple[Float[Tensor, "_ 3 h w"], ...]:
    """In [−1, 1]."""
    return (torch.from_numpy(np.ascontiguousarray(pictures, np.float32)).permute(0, 3, 1, 2) * 2.0 - 1.0).split(_BATCH)
