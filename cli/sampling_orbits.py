"""All views around an object: what `viewforge sample --orbit` makes, with ViewFusion or each view by itself.

Imported when the command is called: it needs the systems.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cli.sampling_cameras import Asked, refuse, sample_asked
from geometry.cameras import Intrinsics, look_at_origin
from stage.errors import InputError
from systems.gaussian_pipeline import GaussianPipeline
from systems.object_pipeline import ObjectPipeline
from systems.viewfusion.pipeline import ViewFusionPipeline
from viewing.row import write_row
from viewing.video import write_video

_OTHER_WAYS = ("azimuth_deg", "polar_deg", "radius", "cameras", "input_frame")
# Of an orbit only turns count; these are the published lens and about the published distance.
_FOV, _DISTANCE = math.radians(49.1), 1.5
_FRAMES_PER_SECOND = 12


@dataclass(frozen=True)
class _Photographer:
    """The camera of the picture."""

    c2w: Float[np.ndarray, "4 4"]
    intrinsics: Intrinsics


def sample_orbit(
    pipeline: ObjectPipeline,
    picture: Float[Tensor, "1 3 h w"],
    views: int,
    asked: Asked,
    output: Path,
    **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
) -> str:
    """Write a row of all views, the picture first and then counter-clockwise, and a video of them; what was made, in words.

    Args:
        pipeline: of any system that makes pictures.
        picture: the input view in [−1, 1].
        views: how many, the input among them.
        asked: the command's other options.
        output: PNG; the video lies beside it.
        **options: `SamplerOptions`.

    Raises:
        InputError: when an option does not belong to an orbit, or to the system.
    """
    if isinstance(pipeline, GaussianPipeline):
        raise InputError(f"a {type(pipeline).__name__} films its Gaussians by itself", "leave --orbit out")
    if output.suffix == ".mp4":
        raise InputError(f"{output} is the place of the video", "name a .png")
    refuse(asked, _OTHER_WAYS, "has no meaning beside --orbit")
    made = _around(pipeline, picture, views, asked, options)
    row = torch.cat([picture / 2 + 0.5, made])
    film = output.with_suffix(".mp4")
    frames = (row.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    # The pictures first: a video that cannot be written loses none of them.
    write_row(output, row)
    write_video(film, frames, row.shape[-1], _FRAMES_PER_SECOND)
    return f"{views} views in {output} and {film}"


def _around(
    pipeline: ObjectPipeline, picture: Float[Tensor, "1 3 h w"], views: int, asked: Asked, options: dict[str, Any]
) -> Float[Tensor, "n 3 h w"]:
    """The views but the first."""
    if not isinstance(pipeline, ViewFusionPipeline):
        turns = tuple(360.0 / views * number for number in range(1, views))
        return sample_asked(pipeline, picture, replace(asked, azimuth_deg=turns), **options)
    refuse(asked, ("distance", "fov_deg", "scale"), "is nothing to ViewFusion")
    polar = math.radians(90.0 - (asked.elevation_deg or 0.0))
    lens = Intrinsics.from_fov(_FOV, picture.shape[-1])
    camera = _Photographer(look_at_origin(polar, 0.0, _DISTANCE), lens)
    around: Float[Tensor, "v 3 h w"] = pipeline.orbit(picture, camera, views, **options).images
    return around[1:]
