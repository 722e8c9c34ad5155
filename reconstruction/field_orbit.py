"""Pictures on a camera's way around a field: the frames of a turntable video, the tiles of a contact sheet."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from blender_render.camera_sets import View
from geometry.cameras import Intrinsics, look_at_origin

_FOV, _RADIUS = 0.857, 1.8


@torch.no_grad()
def orbit(
    seen: Callable[[View], Float[Tensor, "3 h w"]],
    count: int,
    size: int,
    elevation: float = 0.35,
    azimuth: float = 0.0,
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The pictures of one turn, counter-clockwise seen from above, as they are made.

    Args:
        seen: the field's picture from a camera, RGB in [0, 1].
        count: how many.
        size: width and height, pixels.
        elevation: above the horizon, radians.
        azimuth: of the first, from +X, radians; that of the input picture's camera is 0.
    """
    lens = Intrinsics.from_fov(_FOV, size)
    for number in range(count):
        turned = azimuth + 2.0 * np.pi * number / count
        picture = seen(View(look_at_origin(0.5 * np.pi - elevation, turned, _RADIUS), lens))
        if picture.shape[-1] != size:
            # A model decodes at its own size.
            picture = torch.nn.functional.interpolate(picture[None], size=(size, size), mode="bilinear")[0]
        values = picture.clamp(0.0, 1.0).permute(1, 2, 0) * 255.0
        yield values.round().to(torch.uint8).cpu().numpy()
