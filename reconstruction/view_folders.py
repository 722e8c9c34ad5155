"""Folders of views with their cameras: rendered objects, and views that a model sampled, laid out like those.

views = read_posed_views(folder)
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from blender_render.camera_sets import View
from blender_render.rendered_object import TRANSFORMS, read_rgba, read_views, write_cameras
from reconstruction.posed_views import PosedViews, views_on_white, views_with_alpha
from stage.errors import InputError
from stage.files import replacing_folder
from systems.zero123.compositing import picture_tensor

_OPAQUE = 255


def is_view_folder(folder: Path) -> bool:
    """Whether views with cameras lie there."""
    return (folder / TRANSFORMS).is_file()


def read_view(folder: Path, number: int) -> tuple[Image.Image, View]:
    """One picture, RGBA, with its camera.

    Raises:
        InputError: when there is no such view, or the folder is damaged.
    """
    cameras = _cameras(folder)
    if not 0 <= number < len(cameras):
        raise InputError(f"{folder} has no view {number}", f"take one from 0 to {len(cameras) - 1}")
    return Image.fromarray(read_rgba(folder, number), "RGBA"), cameras[number]


def read_posed_views(folder: Path) -> PosedViews:
    """All views; of pictures without transparency what is not white is the object.

    Raises:
        InputError: when the folder is damaged, or nothing is seen.
    """
    cameras = _cameras(folder)
    pictures = [Image.fromarray(read_rgba(folder, number), "RGBA") for number in range(len(cameras))]
    if any(np.asarray(picture)[..., 3].min() < _OPAQUE for picture in pictures):
        return views_with_alpha(pictures, cameras)
    values = torch.stack([picture_tensor(picture, picture.size) / 2.0 + 0.5 for picture in pictures])
    return views_on_white(values, cameras)


def write_posed_views(folder: Path, images: Float[Tensor, "v 3 h w"], cameras: Sequence[View]) -> None:
    """Views, RGB in [0, 1], and their cameras; the folder appears whole or not at all."""
    values = (images.detach().clamp(0.0, 1.0) * 255.0).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    with replacing_folder(folder) as temporary:
        for number, pixels in enumerate(values):
            Image.fromarray(pixels).save(temporary / f"{number:03d}.png")
        write_cameras(temporary, cameras, ())


def _cameras(folder: Path) -> list[View]:
    try:
        return read_views(folder)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / TRANSFORMS} does not describe views: {error!r}", "compare it with a rendered object's"
        ) from None
