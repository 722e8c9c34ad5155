"""The views that others are made from: each encoded once, when it is seen, and told of every wanted view.

A `Conditioner` says what a kind of base pipeline is told of them; `systems.viewfusion.bases` finds it for a pipeline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from systems.viewfusion.trajectory import Position
from systems.zero123.conditioning import pose_between
from systems.zero123.encoding import EncodedImages
from systems.zero123.guidance import Condition, conditioned
from systems.zero123.sampler_options import SamplerOptions
from systems.zero123.view_pipeline import ViewPipeline

Base = TypeVar("Base", bound=ViewPipeline)


@dataclass(frozen=True, eq=False)
class SeenView:
    """A view that others can be made from."""

    position: Position
    given: bool
    """Whether it is an input; generated otherwise."""
    encoded: EncodedImages
    """Its embedding and latent, one row."""


def poses_from(target: Position, views: Sequence[SeenView]) -> Float[Tensor, "n 4"]:
    """T of a wanted view relative to each of some views."""
    return torch.from_numpy(np.stack([pose_between(target, view.position) for view in views])).float()


def together(views: Sequence[SeenView]) -> EncodedImages:
    """What the denoiser sees of some views, a row for each."""
    return EncodedImages(
        torch.cat([view.encoded.embedding for view in views]), torch.cat([view.encoded.latent for view in views])
    )


class Conditioner(Generic[Base]):
    """What Zero-1-to-3, and whatever is told of the same T, is told of views.

    Args:
        base: the pipeline.
    """

    def __init__(self, base: Base) -> None:
        self.base = base

    def see(self, picture: Float[Tensor, "1 3 h w"], position: Position, given: bool) -> SeenView:
        """Encode a view in [−1, 1]: the mode of its latent, unscaled, and its CLIP embedding."""
        return SeenView(position, given, self.base.encoded(picture))

    def condition(self, target: Position, views: Sequence[SeenView], options: SamplerOptions) -> Condition:
        """What the denoiser is told of a wanted view, a row for each of the views that it is made from."""
        encoded = together(views)
        poses, each = poses_from(target, views).to(encoded.embedding), torch.arange(len(views))
        projection = self.base.cc_projection
        return conditioned(projection, encoded.embedding, encoded.latent, poses, each, options.null_condition)
