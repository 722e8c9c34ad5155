"""Cameras of true pictures from `transforms.json`: ours, instant-ngp's or NeRF's.

World: right-handed, Z up; c2w in OpenGL axes. A frame belongs to the picture of its `file_path`.
"""

from pathlib import PurePosixPath
from typing import Any

import numpy as np

from blender_render.camera_sets import View
from evaluation.folders.layout import view_name
from geometry.cameras import Intrinsics
from stage.failures import FailureClass, ObjectFailedError
from stage.foreign_files import parse_json


def read_cameras(data: bytes, height: int, width: int) -> dict[str, View]:
    """The cameras by view, with intrinsics in pixels of the given size.

    Args:
        data: content of `transforms.json`.
        height: of the pictures, pixels.
        width: likewise.

    Raises:
        ObjectFailedError: when it has no such content.
    """
    try:
        document = parse_json(data)
        frames = [{**document, **frame} for frame in document["frames"]]
        return {
            view_name(PurePosixPath(frame["file_path"]).stem): View(_matrix(frame), _lens(frame, height, width))
            for frame in frames
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ObjectFailedError(FailureClass.PARSE, f"transforms.json of the truth: {error!r}") from None


def _matrix(frame: dict[str, Any]) -> np.ndarray:
    matrix = np.array(frame["transform_matrix"], dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"the camera of {frame['file_path']} is no 4×4 matrix of numbers")
    return matrix


def _lens(frame: dict[str, Any], height: int, width: int) -> Intrinsics:
    """From pixels, or from the field of view alone as NeRF's synthetic scenes have it."""
    if "fl_x" in frame:
        focal = float(frame["fl_x"])
        w, h = int(frame.get("w", width)), int(frame.get("h", height))
        centre = float(frame.get("cx", 0.5 * w)), float(frame.get("cy", 0.5 * h))
        return Intrinsics(focal, float(frame.get("fl_y", focal)), *centre, w, h).resized(width, height)
    focal = 0.5 * width / float(np.tan(0.5 * float(frame["camera_angle_x"])))
    return Intrinsics(focal, focal, 0.5 * width, 0.5 * height, width, height)
