"""Cameras as ZeroNVS's `_metadata.json` files hold them, in either of the two forms that its loaders read.

Source: kylesargent/zeronvs_diffusion `ldm/data/webdataset_co3d.py` and `webdataset_re10k.py`.

- `co3d`: PyTorch3D's `R`, `T`, `focal_length` and `principal_point` (CO3D's normalised device coordinates), and
  `scale_adjustment`, by which stored depth is multiplied to be in the units of `T`. The published loader asserts a principal
  point of (0, 0); where a file names its `intrinsics_format`, as CO3D's own annotations do, it is followed.
- `re10k`, for RealEstate10K and ACID: `extrinsics`, 4×4 camera-to-world in OpenGL axes, and `intrinsics`, the inverse of K: from
  pixels to rays. The published loader asserts fx = fy, and takes the field of view as 2·atan(cx / fx): the width's, although it
  crops pictures to their shorter side.
"""

import json
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from geometry.cameras import (
    Intrinsics,
    c2w_from_pytorch3d,
    intrinsics_from_ndc,
    ndc_from_intrinsics,
    pytorch3d_from_c2w,
)
from stage.foreign_files import parse_json

CameraForm = Literal["co3d", "re10k"]
_ISOTROPIC = {"ndc_norm_image_bounds": False, "ndc_isotropic": True}
# What the published loaders assert, and how much a rotation read from 32-bit numbers errs.
_SQUARE_PIXELS, _RIGID = 1e-5, 1e-3
_CENTRED = 1e-6
# Of a side: how far off the middle a principal point in pixels may be, before it is one in other units or of another picture.
_ABOUT_THE_MIDDLE = 0.1

Camera = tuple[Float[np.ndarray, "4 4"], Intrinsics]


def metadata_of(c2w: Float[np.ndarray, "4 4"], intrinsics: Intrinsics, form: CameraForm) -> bytes:
    """The `_metadata.json` of one frame.

    Args:
        c2w: OpenGL axes.
        intrinsics: of the picture as it is stored, pixels.
        form: which of ZeroNVS's loaders is to read it.

    Raises:
        ValueError: when that loader would refuse the camera, or take its field of view for another.
    """
    if max(abs(intrinsics.cx - 0.5 * intrinsics.width), abs(intrinsics.cy - 0.5 * intrinsics.height)) > _CENTRED:
        raise ValueError("ZeroNVS knows no principal point off the picture's middle")
    values = _co3d_values(c2w, intrinsics) if form == "co3d" else _re10k_values(c2w, intrinsics)
    return json.dumps(values, sort_keys=True, allow_nan=False).encode()


def _co3d_values(c2w: Float[np.ndarray, "4 4"], intrinsics: Intrinsics) -> dict[str, Any]:
    rotation, translation = pytorch3d_from_c2w(c2w)
    focal_length, _ = ndc_from_intrinsics(intrinsics)
    return {
        "R": rotation.tolist(),
        "T": translation.tolist(),
        "focal_length": list(focal_length),
        "principal_point": [0.0, 0.0],
        "scale_adjustment": 1.0,
    }


def _re10k_values(c2w: Float[np.ndarray, "4 4"], intrinsics: Intrinsics) -> dict[str, Any]:
    if abs(intrinsics.fx - intrinsics.fy) >= _SQUARE_PIXELS:
        raise ValueError("ZeroNVS's loader of RealEstate10K knows square pixels alone; write the form co3d")
    if intrinsics.width > intrinsics.height:
        raise ValueError(
            "ZeroNVS's loader of RealEstate10K takes a wide picture's field of view wrong; write the form co3d"
        )
    return {"extrinsics": c2w.tolist(), "intrinsics": np.linalg.inv(intrinsics.matrix()).tolist()}


def camera_from(metadata: bytes, width: int, height: int) -> tuple[Float[np.ndarray, "4 4"], Intrinsics, float]:
    """c2w in OpenGL axes, pixel intrinsics and the scale of depth of one frame, whichever form its metadata has.

    Args:
        metadata: content of `_metadata.json`.
        width: of the frame's picture, pixels.
        height: of the frame's picture, pixels.

    Raises:
        ValueError: saying in one line what is missing or impossible.
    """
    values = parse_json(metadata)
    if not isinstance(values, dict):
        raise ValueError("its metadata is no JSON object")  # noqa: TRY004 - a wrong file, not a wrong type of argument
    return camera_of(values, width, height)


def camera_of(values: dict[str, Any], width: int, height: int) -> tuple[Float[np.ndarray, "4 4"], Intrinsics, float]:
    """As `camera_from`, of metadata that are parsed already, or of a viewpoint of CO3D's own annotations."""
    read: Callable[[dict[str, Any], int, int], Camera] = _read_co3d if "R" in values else _read_re10k
    try:
        c2w, intrinsics = read(values, width, height)
        scale = float(values.get("scale_adjustment", 1.0))
    except KeyError as error:
        raise ValueError(f"its metadata lacks {error.args[0]}") from None
    except (TypeError, np.linalg.LinAlgError) as error:
        raise ValueError(f"its metadata is not ZeroNVS's: {error}") from None
    check_camera(c2w, intrinsics)
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"its scale_adjustment is {scale}")
    return c2w, intrinsics, scale


def _read_co3d(values: dict[str, Any], width: int, height: int) -> Camera:
    rotation, translation = _numbers(values, "R", (3, 3)), _numbers(values, "T", (3,))
    focal_length, principal_point = _numbers(values, "focal_length", (2,)), _numbers(values, "principal_point", (2,))
    form = values.get("intrinsics_format", "ndc_norm_image_bounds")
    if form not in _ISOTROPIC:
        raise ValueError(f"its intrinsics_format is {form!r}")
    lens = intrinsics_from_ndc(_pair(focal_length), _pair(principal_point), width, height, _ISOTROPIC[form])
    return c2w_from_pytorch3d(rotation, translation), lens


def _read_re10k(values: dict[str, Any], width: int, height: int) -> Camera:
    c2w, rays_from_pixels = _numbers(values, "extrinsics", (4, 4)), _numbers(values, "intrinsics", (3, 3))
    matrix = np.linalg.inv(rays_from_pixels)
    fx, fy, cx, cy = (float(matrix[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
    if not max(abs(cx / width - 0.5), abs(cy / height - 0.5)) < _ABOUT_THE_MIDDLE:
        raise ValueError(f"its principal point ({cx:g}, {cy:g}) is not of a picture of {width}×{height} pixels")
    return c2w, Intrinsics(fx, fy, cx, cy, width, height)


def _numbers(values: dict[str, Any], name: str, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    array = np.array(values[name], dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"its {name} is no {'×'.join(map(str, shape))} of finite numbers")
    return array


def _pair(values: Float[np.ndarray, "2"]) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def check_camera(c2w: Float[np.ndarray, "4 4"], intrinsics: Intrinsics) -> None:
    """Refuse what is no camera, wherever it was read.

    Raises:
        ValueError: when the pose is not rigid, the focal length not positive or the principal point outside the picture.
    """
    rotation = c2w[:3, :3]
    rigid = np.abs(rotation @ rotation.T - np.eye(3)).max() < _RIGID and np.linalg.det(rotation) > 0
    if not (rigid and np.array_equal(c2w[3], [0.0, 0.0, 0.0, 1.0])):
        raise ValueError("its camera's pose is not rigid")
    if not (intrinsics.fx > 0 and intrinsics.fy > 0):
        raise ValueError("its focal length is not positive")
    if not (0 < intrinsics.cx < intrinsics.width and 0 < intrinsics.cy < intrinsics.height):
        raise ValueError(f"its principal point ({intrinsics.cx:g}, {intrinsics.cy:g}) lies outside the picture")
