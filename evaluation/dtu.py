"""The DTU scenes as pixelNeRF distributes them (`rs_dtu_4/DTU`), and ZeroNVS's split of them.

A scene is `scan<number>/` with `image/000000.png` … (400×300) and `cameras.npz`, which has for each picture `world_mat_<n>`, the
projection P = K [R | t] (4×4, OpenCV axes), and `scale_mat_<n>`, whose inverse brings the object into the unit sphere.

Source: kylesargent/ZeroNVS `launch_eval_dtu.sh` (scans, excluded views, scales), kylesargent/zeronvs_diffusion
`ldm/data/pixelnerf.py` (input 25, normalisation), `configs/zero123_scene.yaml` (unit 2.02, 0.7).
"""

from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image

from blender_render.camera_sets import View
from evaluation.scenes import Photograph, Scene, check_lens, in_protocol_order, scaled, upright
from geometry.cameras import Intrinsics, opencv_from_opengl
from stage.errors import InputError

INPUT = 25
EXCLUDED = (3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 36, 37, 38, 39)
"""Pictures in which something is wrong with the light; RegNeRF and pixelNeRF leave them out as well."""
MANUAL_SCALES = {
    "scan8": 1.2,
    "scan21": 1.4,
    "scan30": 1.5,
    "scan31": 1.4,
    "scan34": 1.4,
    "scan38": 1.3,
    "scan40": 1.2,
    "scan41": 1.3,
    "scan45": 1.4,
    "scan55": 1.2,
    "scan63": 1.5,
    "scan82": 1.5,
    "scan103": 1.5,
    "scan110": 1.3,
    "scan114": 1.3,
}
"""The scenes, and `manual_gt_to_pred_scale` of each, chosen by its authors from 0.3, 0.4 … 1.5."""
_UNIT, _CONDITION_SCALE = 2.02, 0.7
_ARCHIVE = "take the folder rs_dtu_4/DTU of pixelNeRF's archive dtu_dataset.zip"


def dtu_scene(folder: Path, most: int | None = None) -> Scene:
    """A scene of DTU.

    Its unit is that of ZeroNVS: the unit sphere's radius times 2.02. Its scale is what the released distillation comes to: target
    cameras are divided by `manual_gt_to_pred_scale` and then, for the model, by `precomputed_scale`, 0.7.

    Args:
        folder: `scan<number>`.
        most: so many targets; all when None.

    Raises:
        InputError: when files are missing or do not fit one another.
    """
    paths = sorted((folder / "image").glob("*.png"))
    numbers = [int(path.stem) for path in paths if path.stem.isdigit()]
    if numbers != list(range(len(paths))) or len(paths) <= INPUT:
        raise InputError(f"{folder}/image has no pictures 000000.png, 000001.png … to 000025.png and on", _ARCHIVE)
    cameras = _cameras(folder / "cameras.npz", len(paths))
    c2w = scaled(upright(np.stack([pose for _, pose in cameras])), _UNIT)
    rows = zip(paths, cameras, c2w, strict=True)
    photographs = [_photograph(path, matrix, pose) for path, (matrix, _), pose in rows]
    scale = MANUAL_SCALES.get(folder.name)
    known = None if scale is None else scale * _CONDITION_SCALE
    return Scene(in_protocol_order(photographs, INPUT, EXCLUDED, most), known)


def _photograph(path: Path, matrix: np.ndarray, pose: np.ndarray) -> Photograph:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            size = image.size
    except OSError as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}", _ARCHIVE) from None
    fx, fy, cx, cy = (float(value) for value in (matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]))
    lens = Intrinsics(fx, fy, cx, cy, *size)
    check_lens(lens, path)
    return Photograph(path, View(pose, lens), partial(_decode, path))


def _decode(path: Path) -> Image.Image:
    with Image.open(path, formats=["PNG"]) as image:
        return image.convert("RGB")


def _cameras(path: Path, count: int) -> list[tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "4 4"]]]:
    try:
        with np.load(path) as stored:
            matrices = [(stored[f"world_mat_{number}"], stored[f"scale_mat_{number}"]) for number in range(count)]
    except FileNotFoundError:
        raise InputError(f"{path} is missing", _ARCHIVE) from None
    except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} is damaged: {' '.join(str(error).split())}", _ARCHIVE) from None
    if any(np.shape(matrix) != (4, 4) for pair in matrices for matrix in pair):
        raise InputError(f"{path} holds matrices that are not 4×4", _ARCHIVE)
    return [_camera(world, scale) for world, scale in matrices]


def _camera(
    world: Float[np.ndarray, "4 4"], scale: Float[np.ndarray, "4 4"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "4 4"]]:
    """K, pixels, and c2w (OpenGL axes) of a projection, in units of the unit sphere.

    Args:
        world: P = K [R | t].
        scale: from the unit sphere to the world: its middle in the last column, its radius on the diagonal.
    """
    matrix, rotation, centre = cv2.decomposeProjectionMatrix(np.asarray(world, dtype=np.float64)[:3])[:3]
    c2w = np.eye(4)
    c2w[:3, :3] = rotation.T
    c2w[:3, 3] = (centre[:3, 0] / centre[3, 0] - scale[:3, 3]) / np.diagonal(scale)[:3]
    # The flip of axes is its own inverse.
    return matrix / matrix[2, 2], opencv_from_opengl(c2w)
