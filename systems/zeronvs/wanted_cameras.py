"""The cameras that a person asks for: a file of them, or turns about a point in front of the input's camera."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from geometry.cameras import look_at_origin
from stage.errors import InputError
from stage.foreign_files import parse_json
from systems.zeronvs.conditioning import fov_of

_REMEDY = "give a JSON list of 4×4 camera-to-world matrices, or a transforms.json"


@dataclass(frozen=True)
class WantedCameras:
    """Cameras in one frame, OpenGL axes."""

    condition: Float[np.ndarray, "4 4"]
    """The input's."""
    targets: Float[np.ndarray, "n 4 4"]
    """The wanted ones."""
    fovs: tuple[float, ...] | None = None
    """Fields of view of the wanted ones' square middles, radians, where the file tells them."""


def cameras_around(
    distance: float,
    elevation: float,
    azimuths: Sequence[float],
    polar: float = 0.0,
    farther: float = 0.0,
) -> WantedCameras:
    """Cameras about a point that the input's camera looks at, which is the origin; up is +Z.

    Args:
        distance: of the input's camera, scene units.
        elevation: how high the input's camera stands above the horizon of the point, radians.
        azimuths: turns about the point, counter-clockwise seen from above, radians.
        polar: change of the angle from the top, radians; negative looks from higher.
        farther: change of the distance, scene units.

    Raises:
        InputError: when a camera would stand at or behind the point.
    """
    if distance <= 0 or distance + farther <= 0:
        raise InputError(
            f"a camera {min(distance, distance + farther):g} before its centre", "give a positive distance"
        )
    from_top = np.pi / 2 - elevation
    targets = [look_at_origin(from_top + polar, azimuth, distance + farther) for azimuth in azimuths]
    return WantedCameras(look_at_origin(from_top, 0.0, distance), np.stack(targets))


def read_cameras(path: Path, input_frame: int | None = None) -> WantedCameras:
    """The cameras of a JSON list of 4×4 c2w matrices, or of a `transforms.json` (NeRF's convention).

    Args:
        path: the file.
        input_frame: which of its cameras is the input's and not wanted; none when None: then the input's is the identity.

    Raises:
        InputError: when it holds no such cameras.
    """
    try:
        document = parse_json(path.read_text())
    except FileNotFoundError:
        raise InputError(f"no file {path}", _REMEDY) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not JSON: {error}", _REMEDY) from None
    shared = document if isinstance(document, dict) else {}
    frames = shared.get("frames") if shared else document
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{path} holds no cameras", _REMEDY)
    chosen = [n for n in range(len(frames)) if n != input_frame]
    if input_frame is not None and (len(chosen) == len(frames) or not chosen):
        raise InputError(f"{path} has {len(frames)} cameras and the input would be number {input_frame}", _REMEDY)
    c2w = np.stack([_matrix(frame, path, number) for number, frame in enumerate(frames)])
    condition = np.eye(4) if input_frame is None else c2w[input_frame]
    return WantedCameras(condition, c2w[chosen], _fovs([frames[n] for n in chosen], shared, path))


def _matrix(frame: object, path: Path, number: int) -> Float[np.ndarray, "4 4"]:
    try:
        matrix = np.array(frame["transform_matrix"] if isinstance(frame, dict) else frame, dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (4, 4):
        raise InputError(f"{path}: camera {number} is no 4×4 matrix", _REMEDY)
    return matrix


def _fovs(frames: Sequence[Any], shared: Mapping[str, Any], path: Path) -> tuple[float, ...] | None:
    lenses = [{**shared, **frame} if isinstance(frame, dict) else {} for frame in frames]
    try:
        found = [_fov(lens) for lens in lenses]
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} has lenses that cannot be read: {error}", _REMEDY) from None
    known = tuple(fov for fov in found if fov is not None)
    return known if len(known) == len(found) else None


def _fov(lens: Mapping[str, Any]) -> float | None:
    """Of the square in the middle: the smaller one of width and height; of an angle alone where the file tells no sides."""
    angles = [float(lens[key]) for key in ("camera_angle_x", "camera_angle_y") if key in lens]
    if "w" not in lens or "h" not in lens:
        return min(angles) if angles else None
    width, height = int(lens["w"]), int(lens["h"])
    if "fl_x" in lens:
        focal = (float(lens["fl_x"]), float(lens.get("fl_y", lens["fl_x"])))
    elif "camera_angle_x" in lens:
        focal = (0.5 * width / np.tan(0.5 * float(lens["camera_angle_x"])),) * 2
    else:
        return None
    return fov_of(np.array([*focal, 0.5 * width, 0.5 * height]), width, height)
