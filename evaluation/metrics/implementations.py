"""What computes each figure here, or why nothing does; a network that several figures share is loaded once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from evaluation.metrics.clip_similarity import ClipEncoder, find_clip
from evaluation.metrics.inception import InceptionFeatures, find_inception
from evaluation.metrics.lpips import Lpips, find_lpips
from evaluation.metrics.parameters import MetricParameters
from evaluation.metrics.views_around import ObjectMetric, PairMetric, of_neighbours, sift_matches, sparse_points
from geometry.perceptual import Unavailable, missing_package
from geometry.picture_metrics import psnr, ssim


@dataclass(frozen=True)
class Implementations:
    """Figures' implementations by name."""

    parameters: MetricParameters

    def pair(self, name: str) -> PairMetric | Unavailable:
        """Of a figure of scope "view"."""
        match name:
            case "psnr":
                return _psnr
            case "ssim":
                return _ssim
            case "lpips":
                return self._lpips
            case "lpips_alex":
                return find_lpips("alex")
            case "clip_similarity":
                return self._clip if isinstance(self._clip, Unavailable) else self._clip.similarity
        raise AssertionError(f"{name} has a definition and no implementation")

    def object(self, name: str) -> ObjectMetric | Unavailable:
        """Of a figure of scope "object"."""
        match name:
            case "sift_matches":
                return sift_matches
            case "neighbour_lpips":
                return self._lpips if isinstance(self._lpips, Unavailable) else of_neighbours(self._lpips)
            case "neighbour_clip":
                return self._clip if isinstance(self._clip, Unavailable) else of_neighbours(self._clip.similarity)
            case "colmap_sparse_points":
                missing = missing_package("pycolmap")
                return Unavailable(missing) if missing else sparse_points
        raise AssertionError(f"{name} has a definition and no implementation")

    @cached_property
    def inception(self) -> InceptionFeatures | Unavailable:
        """The features of figures of scope "set"."""
        return find_inception(self.parameters.inception)

    @cached_property
    def _lpips(self) -> Lpips | Unavailable:
        return find_lpips("vgg")

    @cached_property
    def _clip(self) -> ClipEncoder | Unavailable:
        return find_clip(self.parameters.clip)


def _psnr(first: Float[np.ndarray, "t h w 3"], second: Float[np.ndarray, "t h w 3"]) -> Float[np.ndarray, " t"]:
    return np.array([psnr(a, b) for a, b in zip(first, second, strict=True)], np.float64)


def _ssim(first: Float[np.ndarray, "t h w 3"], second: Float[np.ndarray, "t h w 3"]) -> Float[np.ndarray, " t"]:
    return np.array([ssim(a, b) for a, b in zip(first, second, strict=True)], np.float64)
