"""A pipeline of Gaussians that knows its answers, and spheres of Gaussians to give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from scipy.spatial.transform import Rotation
from torch import Tensor

from systems.gaussian_pipeline import GaussianPipeline


@dataclass(frozen=True)
class Answer:
    """What is answered to an input view (3, h, w): splatter images (v, 14, h, w) in the input's frame."""

    image: Tensor
    splatters: Tensor


class KnownGaussians(GaussianPipeline):
    """Gives to each input view the answer whose picture is nearest, and notes what it is asked."""

    def __init__(self, answers: Sequence[Answer], image_size: int) -> None:
        super().__init__()
        self.register_modules(scheduler=DDIMScheduler())
        self._answers, self._size = answers, image_size
        self.elevations: list[float] = []
        self.options: list[set[str]] = []

    @property
    def image_size(self) -> int:
        """As it was given."""
        return self._size

    def sample_splatters(self, images: Tensor, elevations: Tensor, **options: Any) -> Tensor:
        """The known answers."""
        self.elevations += elevations.tolist()
        self.options.append(set(options))
        given = [min(self._answers, key=lambda a: float((a.image - image).square().sum())) for image in images]
        return torch.stack([answer.splatters for answer in given])


def sphere_channels(radius: float, side: int = 64, centre: tuple[float, float, float] = (0, 0, 0)) -> Tensor:
    """A sphere of side² discs as one splatter image (1, 14, side, side), red where y is positive and blue elsewhere."""
    count = side * side
    # Fibonacci's lattice: even over the sphere.
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    ring = np.sqrt(1 - height**2)
    normals = np.stack([ring * np.cos(turn), ring * np.sin(turn), height], axis=1)
    rotations = np.stack(
        [Rotation.align_vectors([normal], [[0, 0, 1]])[0].as_quat()[[3, 0, 1, 2]] for normal in normals]
    )
    # Half the distance between neighbours: no gaps, and an outline that is hardly fatter than the sphere.
    extent = 0.5 * radius * np.sqrt(4 * np.pi / count)
    scales = np.tile([extent, extent, 0.1 * extent], (count, 1))
    colours = np.where(normals[:, 1:2] > 0, [[0.9, 0.1, 0.1]], [[0.1, 0.1, 0.9]])
    opacities = np.full((count, 1), 0.95)
    table = np.concatenate([normals * radius + np.array(centre), opacities, scales, rotations, colours], axis=1)
    return torch.from_numpy(table.T.reshape(1, 14, side, side).astype(np.float32))
