"""How high the camera of a picture stood, asked of a model that turns objects.

The model makes views a little to the sides, above and below; what matches among them tells the elevation
(`geometry.elevation_search`). The principle is One-2-3-45's (Liu et al. 2023), which has it of Zero-1-to-3 and LoFTR.

estimate = estimate_elevation(picture, asking(pipeline, guidance_scale=3.0))
print(estimate.line(), estimate.elevation_deg)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geometry.cameras import Intrinsics, fov_from_lens
from geometry.elevation_search import ElevationSearch, Turn, search_elevation
from stage.errors import InputError
from stage.seeds import generator
from systems.cascade_zero123.pipeline import CascadePipeline
from systems.object_pipeline import ObjectPipeline
from systems.pictures.matching import matched_points
from systems.zero123.conditioning import pose_between
from systems.zero123.pipeline import Zero123Pipeline

ViewPrior: TypeAlias = Callable[[Float[Tensor, "3 h w"], Sequence[Turn]], Float[Tensor, "n 3 h w"]]
"""Views of a picture [−1, 1] turned by so much, in [0, 1]."""
_TEN = math.radians(10.0)
NEARBY = (
    *(Turn(-_TEN, 0.0), Turn(_TEN, 0.0), Turn(0.0, -_TEN), Turn(0.0, _TEN)),
    *(Turn(0.0, -2 * _TEN), Turn(0.0, 2 * _TEN)),
)
"""Turns of the views that are asked for. One-2-3-45 has the first four; further azimuths sharpen the minimum."""
# The lens of Zero-1-to-3's renders, 35 mm on 32 mm.
_FOV = fov_from_lens(35.0, 32.0)
_LEAST_MATCHES = 8
_ENOUGH_INLIERS, _ENOUGH_SHARE, _NARROW_DEG = 40, 0.4, 10.0
# Of the picture's width, between views 20° apart and more. Points of objects with a texture moved by 0.02 to 0.13, highlights
# and outlines of smooth solids of revolution, which stay where they are, by 0.00 to 0.02.
_ENOUGH_MOTION = 0.02


@dataclass(frozen=True)
class ElevationEstimate:
    """An elevation and whether to believe it."""

    search: ElevationSearch
    """What the matches say."""

    @property
    def elevation_deg(self) -> float:
        """Of the picture's camera above the object's horizon, degrees."""
        return math.degrees(self.search.elevation)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What speaks against it; nothing when it is to be believed."""
        found, width = self.search, math.degrees(self.search.high - self.search.low)
        doubts = {
            f"only {found.inliers} matches fit": found.inliers < _ENOUGH_INLIERS,
            f"{1 - found.inliers / found.matches:.0%} of the matches do not fit": found.inliers
            < _ENOUGH_SHARE * found.matches,
            f"pairs of views differ by {width:.0f}°": width > _NARROW_DEG,
            "it looks alike from all sides": found.motion < _ENOUGH_MOTION,
            "it is the last that was tried": found.at_the_edge,
        }
        return tuple(doubt for doubt, holds in doubts.items() if holds)

    def line(self) -> str:
        """The estimate in words."""
        found = self.search
        low, high = math.degrees(found.low), math.degrees(found.high)
        said = (
            f"elevation {self.elevation_deg:.0f}° ({low:.0f}° to {high:.0f}° by pairs of views, "
            f"{found.inliers} of {found.matches} fit, to {found.error:.1f} pixels)"
        )
        return f"{said}; not confident: {', '.join(self.doubts)}" if self.doubts else said


def estimate_elevation(
    picture: Float[Tensor, "3 h w"], prior: ViewPrior, seed: int = 0, fov: float = _FOV
) -> ElevationEstimate:
    """The elevation of the camera of an object's picture.

    Args:
        picture: square, on white, in [−1, 1], framed as the prior knows objects.
        prior: what turns the object.
        seed: of the bootstrap.
        fov: field of view of the prior's pictures, radians.

    Raises:
        InputError: when next to nothing matches among the views.
    """
    views = prior(picture, NEARBY)
    pictures = torch.cat([picture.detach().cpu()[None] / 2 + 0.5, views.detach().cpu()]).float()
    matches = matched_points(list(pictures.permute(0, 2, 3, 1).numpy()))
    if len(matches) < _LEAST_MATCHES:
        raise InputError(
            f"the elevation cannot be estimated: {len(matches)} points match among the model's views",
            "give --elevation-deg in degrees, or another model by --elevation-model",
        )
    lens = Intrinsics.from_fov(fov, picture.shape[-1])
    turns = (Turn(0.0, 0.0), *NEARBY)
    return ElevationEstimate(search_elevation(matches, turns, lens, generator(seed, "picture", "elevation bootstrap")))


def asking(pipeline: ObjectPipeline, **options: Any) -> ViewPrior:  # noqa: ANN401 - those of `SamplerOptions`
    """A prior that asks a model of Zero-1-to-3's kind, which is told turns and no elevation.

    Args:
        pipeline: of Zero-1-to-3 or Cascade-Zero123.
        **options: `SamplerOptions`.

    Raises:
        InputError: when it is of another kind.
    """
    if not isinstance(pipeline, Zero123Pipeline | CascadePipeline):
        raise InputError(
            f"a {type(pipeline).__name__} cannot be asked for an elevation that it has to be told itself",
            "name a folder of Zero-1-to-3 or Cascade-Zero123 by --elevation-model, or give --elevation-deg",
        )

    def views(picture: Tensor, turns: Sequence[Turn]) -> Tensor:
        poses = np.stack([pose_between((turn.polar, turn.azimuth, 0.0), (0.0, 0.0, 0.0)) for turn in turns])
        made: Tensor = pipeline(picture[None], torch.from_numpy(poses).float(), **options).images
        return made

    return views
