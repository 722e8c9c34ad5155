"""Views of an object with known cameras: what a field is fitted to.

Of renders with alpha, or of views that a model sampled, whose background is white and whose coverage is told from that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from reconstruction.marching.rays import Rays, camera_rays, joined
from stage.errors import InputError
from systems.object_pipeline import Camera

# As SyncDreamer's renderer tells an object from white (`pseudo_fg_mask`).
_WHITE = 0.99


@dataclass(frozen=True, eq=False)
class PosedViews:
    """v views of one size.

    Raises:
        InputError: when there are none, numbers or sizes disagree, or no pixel is covered.
    """

    images: Float[Tensor, "v h w 3"]
    """RGB in [0, 1] on white."""
    masks: Float[Tensor, "v h w"]
    """Coverage in [0, 1]."""
    cameras: Sequence[Camera]

    def __post_init__(self) -> None:
        if not len(self.cameras) or len(self.images) != len(self.cameras):
            raise InputError(f"{len(self.images)} views have {len(self.cameras)} cameras", "give each view its camera")
        sizes = {(camera.intrinsics.height, camera.intrinsics.width) for camera in self.cameras}
        if sizes != {tuple(self.masks.shape[1:])}:
            raise InputError(f"views of {tuple(self.masks.shape[1:])} pixels have cameras for {sorted(sizes)}")
        if not bool((self.masks > 0.5).any()):
            raise InputError("no view shows anything", "check that the views have alpha, or a white background")

    def __len__(self) -> int:
        return len(self.cameras)

    def rays(self, like: Tensor) -> Rays:
        """Of all pixels, view by view, row by row."""
        return joined([camera_rays(camera.c2w, camera.intrinsics, like) for camera in self.cameras])


def views_with_alpha(pictures: Sequence[Image.Image], cameras: Sequence[Camera]) -> PosedViews:
    """Renders: RGBA pictures with straight alpha, put on white."""
    values = [torch.from_numpy(np.asarray(picture.convert("RGBA"), dtype=np.float32) / 255.0) for picture in pictures]
    rgba = torch.stack(values) if values else torch.zeros(0, 1, 1, 4)
    alpha = rgba[..., 3]
    return PosedViews(rgba[..., :3] * alpha[..., None] + 1.0 - alpha[..., None], alpha, cameras)


def views_on_white(images: Float[Tensor, "v 3 h w"], cameras: Sequence[Camera]) -> PosedViews:
    """Sampled views, RGB in [0, 1]: covered is what is not white in some channel."""
    pictures = images.detach().permute(0, 2, 3, 1).contiguous().float().cpu()
    return PosedViews(pictures, (pictures <= _WHITE).any(dim=-1).float(), cameras)
