"""The one picture that methods on a prior hold to: colours, coverage and camera."""

from dataclasses import dataclass, replace

import numpy as np
import torch.nn.functional as F  # noqa: N812 - torch's own name
from jaxtyping import Float
from torch import Tensor

from blender_render.camera_sets import View
from reconstruction.methods.camera_sampling import sized
from stage.errors import InputError


@dataclass(frozen=True, eq=False)
class InputView:
    """A square picture of an object, on white."""

    picture: Float[Tensor, "3 h w"]
    """In [−1, 1]."""
    mask: Float[Tensor, "h w"]
    """Coverage by the object in [0, 1]; ones for a scene."""
    camera: View
    """In the field's world."""
    scale: float = 1.0
    """How many times larger the field's world is than the object's, whose longest side is 1."""

    def __post_init__(self) -> None:
        height, width = self.picture.shape[1:]
        if height != width or self.mask.shape != (height, width):
            raise InputError(
                f"the input is {width}×{height} and its mask {tuple(self.mask.shape)}",
                "give a square picture and its mask",
            )

    def sized(self, size: int) -> "InputView":
        """The same view at another size, averaged where it shrinks."""
        camera = sized(self.camera, size)
        if size == self.picture.shape[-1]:
            return replace(self, camera=camera)
        mask = _resized(self.mask[None], size)[0]
        return replace(self, picture=_resized(self.picture, size), mask=mask, camera=camera)

    def at_distance(self, distance: float | None) -> "InputView":
        """The same view in a world that is scaled so that the camera is this far from the origin; None leaves the world."""
        if distance is None:
            return self
        factor = distance / float(np.linalg.norm(self.camera.c2w[:3, 3]))
        return replace(self, camera=scaled(self.camera, factor), scale=self.scale * factor)


def scaled(camera: View, factor: float) -> View:
    """The camera where it stands when the world grows by a factor."""
    c2w = camera.c2w.copy()
    c2w[:3, 3] *= factor
    return View(c2w, camera.intrinsics)


def _resized(picture: Float[Tensor, "c h w"], size: int) -> Float[Tensor, "c s s"]:
    return F.interpolate(picture[None], size=(size, size), mode="bilinear", align_corners=False, antialias=True)[0]
