"""What Zero-1-to-G learns from: an object's attribute images in its input's frame, beside the input's picture and cameras.

The input's frame is the world turned about Z so that the input camera stands at azimuth 0: no picture tells where north is.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from geometry.attribute_images import AttributeRanges
from geometry.attribute_tensors import encode_channels, turned
from geometry.cameras import Intrinsics
from stage.errors import InputError
from systems.object_pipeline import Camera
from systems.trainable import SplatterImages, Views
from systems.zero123.compositing import on_white
from systems.zero123.parameters import Background
from systems.zero_1_to_g.camera_embedding import elevation_and_azimuth, relative_angles


@dataclass(frozen=True)
class WantedView:
    """A camera with its lens."""

    c2w: Float[np.ndarray, "4 4"]
    intrinsics: Intrinsics


@dataclass(frozen=True)
class Zero1ToGBatch:
    """Attribute images and conditions of b objects."""

    attributes: Float[Tensor, "b v 5 3 y x"]
    """In [−1, 1], of Gaussians in the input's frame."""
    condition: Float[Tensor, "b 3 y x"]
    """Input pictures on white, in [−1, 1]."""
    elevation: Float[Tensor, " b"]
    """Of the input cameras over the horizon, radians."""
    azimuth: Float[Tensor, " b"]
    """Of the input cameras in the scene's frame, radians."""
    delta_elevation: Float[Tensor, "b v"]
    """Of the views over the input cameras', radians."""
    delta_azimuth: Float[Tensor, "b v"]
    """Likewise, counter-clockwise seen from above."""
    wanted: tuple[Camera, ...]
    """The camera of each object's first supervision view, of the input where there is none; scene's frame."""


def batch_from_views(views: Views, ranges: AttributeRanges, background: Background = "alpha") -> Zero1ToGBatch:
    """A batch from views with splatter images, the condition last.

    Args:
        views: pictures of the splatter images' size.
        ranges: what attribute images map to [−1, 1].
        background: how pictures are put on white; see `on_white`.

    Raises:
        InputError: when there are no splatter images, or they have another size than the pictures.
    """
    splatters, given = _splatters(views), views.c2w[:, -1].float()
    device = views.rgba.device
    _, azimuth = elevation_and_azimuth(given)
    elevation, higher, turn = relative_angles(splatters.c2w.float(), given)
    channels = splatters.channels.float()
    return Zero1ToGBatch(
        attributes=encode_channels(turned(channels, -azimuth[:, None].to(device).expand(channels.shape[:2])), ranges),
        condition=_on_white(views.rgba[:, -1], background),
        elevation=elevation.to(device),
        azimuth=azimuth.to(device),
        delta_elevation=higher.to(device),
        delta_azimuth=turn.to(device),
        wanted=tuple(_camera(views, sample) for sample in range(len(views.uids))),
    )


def _splatters(views: Views) -> SplatterImages:
    if views.splatters is None:
        raise InputError(
            "the samples have no splatter images", "run viewforge splatter, and shard with shard.include: [splatter]"
        )
    pictures, splatters = tuple(views.rgba.shape[2:4]), tuple(views.splatters.channels.shape[-2:])
    if pictures != splatters:
        raise InputError(
            f"pictures of {pictures[0]} pixels beside splatter images of {splatters[0]}",
            f"set train.data.size to {splatters[0]}",
        )
    return views.splatters


def _on_white(rgba: UInt8[Tensor, "b h w 4"], background: Background) -> Float[Tensor, "b 3 h w"]:
    values = rgba.float() / 255.0
    return on_white(values[..., :3], values[..., 3:], background).permute(0, 3, 1, 2) * 2 - 1


def _camera(views: Views, sample: int) -> WantedView:
    """The first view's, which is the input where it is the only one."""
    height, width = views.rgba.shape[2:4]
    fx, fy, cx, cy = views.intrinsics[sample, 0].tolist()
    return WantedView(views.c2w[sample, 0].cpu().double().numpy(), Intrinsics(fx, fy, cx, cy, width, height))
