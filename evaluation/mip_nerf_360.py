"""The scenes of Mip-NeRF 360 as its authors distribute them, and ZeroNVS's split of them.

A scene is `<name>/` with a reconstruction of COLMAP in `sparse/0` and pictures in `images_8`, an eighth of the size; `images_4`,
`images_2` and `images` are taken where it is absent.

Source: kylesargent/ZeroNVS `launch_eval_mipnerf360.sh` (scales, and inputs by how nearly a camera looks at the middle) and
`threestudio/data/image.py` (unit).
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from blender_render.camera_sets import View
from evaluation.scenes import Photograph, Scene, check_lens, in_protocol_order, mean_distance, scaled, upright
from stage.errors import InputError
from stage.failures import ObjectFailedError
from training.data.preparation.colmap_models import Shot, model_folder, pinhole, shots, undistorted


class Split(NamedTuple):
    """What ZeroNVS's evaluation says of a scene."""

    given: int
    """Number of the input among the pictures in order of their names."""
    condition_scale: float
    """`precomputed_scale`."""
    manual_scale: float
    """`manual_gt_to_pred_scale`."""


SPLITS = {
    "bicycle": Split(98, 0.9, 1.0),
    "bonsai": Split(204, 0.9, 1.0),
    "counter": Split(95, 0.9, 0.9),
    "garden": Split(63, 0.9, 1.0),
    "kitchen": Split(65, 0.9, 0.9),
    "room": Split(151, 2.0, 0.9),
    "stump": Split(34, 0.9, 1.1),
}
PICTURE_FOLDERS = ("images_8", "images_4", "images_2", "images")
"""The first that there is, is read."""
_ARCHIVE = "take it from the archive 360_v2 of Mip-NeRF 360"
_FORMATS = ("JPEG", "PNG")


def mip_nerf_360_scene(folder: Path, split: Split | None = None, most: int | None = None) -> Scene:
    """A scene of Mip-NeRF 360.

    Its unit is that of ZeroNVS: the mean distance of the cameras to the point they look at. Its scale is what the released
    distillation comes to: target cameras are divided by `manual_gt_to_pred_scale` and then, for the model, by
    `precomputed_scale`.

    Args:
        folder: the scene's.
        split: its input and scales; the published ones of its name when None.
        most: so many targets, spread evenly; all when None.

    Raises:
        InputError: when files are missing or do not fit one another, or pycolmap is not installed.
    """
    split = split or SPLITS[folder.name]
    model = model_folder(folder)
    if model is None:
        raise InputError(f"no reconstruction in {folder}", _ARCHIVE)
    try:
        found = shots(model)
    except ObjectFailedError as error:
        raise InputError(str(error), _ARCHIVE) from None
    if len(found) <= split.given:
        raise InputError(f"{model} has {len(found)} pictures, and picture {split.given} is the input", _ARCHIVE)
    c2w = upright(np.stack([shot.c2w for shot in found]))
    c2w = scaled(c2w, mean_distance(c2w))
    pictures = _pictures(folder)
    photographs = [_photograph(pictures / shot.name, shot, pose) for shot, pose in zip(found, c2w, strict=True)]
    return Scene(in_protocol_order(photographs, split.given, (), most), split.condition_scale * split.manual_scale)


def _pictures(folder: Path) -> Path:
    for name in PICTURE_FOLDERS:
        if (folder / name).is_dir():
            return folder / name
    raise InputError(f"{folder} has no folder {PICTURE_FOLDERS[0]}", _ARCHIVE)


def _photograph(path: Path, shot: Shot, pose: np.ndarray) -> Photograph:
    try:
        with Image.open(path, formats=_FORMATS) as image:
            size = image.size
        lens = pinhole(shot, *size)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}", _ARCHIVE) from None
    check_lens(lens, path)
    return Photograph(path, View(pose, lens), partial(_decode, path, shot))


def _decode(path: Path, shot: Shot) -> Image.Image:
    with Image.open(path, formats=_FORMATS) as image:
        return Image.fromarray(undistorted(shot, np.asarray(image.convert("RGB"))))
