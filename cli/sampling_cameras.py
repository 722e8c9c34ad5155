"""Which views `viewforge sample` is asked for, in the terms of the system that the model folder holds.

Imported when the command is called: it needs the systems.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from stage.errors import InputError
from systems.object_pipeline import ObjectPipeline
from systems.zero123.conditioning import poses_from_degrees
from systems.zeronvs.pipeline import ZeroNvsPipeline
from systems.zeronvs.wanted_cameras import WantedCameras, cameras_around, read_cameras

_SCENE_OPTIONS = ("distance", "elevation_deg", "cameras", "input_frame", "fov_deg", "scale")
_TURN_OPTIONS = ("azimuth_deg", "polar_deg", "radius", "distance", "elevation_deg")


@dataclass(frozen=True)
class Asked:
    """The command's options about cameras, by their names; None or empty where one is not given, 0 for no change."""

    azimuth_deg: tuple[float, ...] = ()
    polar_deg: float = 0.0
    radius: float = 0.0
    distance: float | None = None
    elevation_deg: float | None = None
    cameras: Path | None = None
    input_frame: int | None = None
    fov_deg: float | None = None
    scale: float | None = None


def sample_asked(pipeline: ObjectPipeline, picture: Tensor, asked: Asked, **options: Any) -> Tensor:  # noqa: ANN401
    """The views that are asked for, in [0, 1].

    Args:
        pipeline: of any system.
        picture: the input view in [−1, 1].
        asked: the command's options.
        **options: `SamplerOptions`.

    Raises:
        InputError: when an option is missing, or does not belong to the system.
    """
    if isinstance(pipeline, ZeroNvsPipeline):
        return _of_scene(pipeline, picture, asked, options)
    refuse(asked, _SCENE_OPTIONS, f"belongs to ZeroNVS, and the model is a {type(pipeline).__name__}")
    if not asked.azimuth_deg:
        raise InputError("no view is asked for", "give --azimuth-deg, 0 for none")
    poses = poses_from_degrees(asked.azimuth_deg, asked.polar_deg, asked.radius)
    views: Tensor = pipeline(picture, poses, **options).images
    return views


def _of_scene(pipeline: ZeroNvsPipeline, picture: Tensor, asked: Asked, options: dict[str, Any]) -> Tensor:
    mode = f"the model's mode {pipeline.mode}"
    if not pipeline.needs_scale:
        refuse(asked, ("scale",), f"is nothing to {mode}")
    elif asked.scale is None:
        raise InputError(
            f"{mode} needs the scene's scale", "give --scale, 0.7 as the released script has it to begin with"
        )
    if not pipeline.needs_fov:
        refuse(asked, ("fov_deg",), f"is nothing to {mode}")
        if asked.cameras is not None and asked.input_frame is None:
            raise InputError(f"{mode} tells positions about the origin, and not the input's", "give --input-frame")
    wanted = _wanted(asked)
    fov = wanted.fovs if asked.fov_deg is None else math.radians(asked.fov_deg)
    if pipeline.needs_fov and fov is None:
        raise InputError(f"{mode} needs the picture's field of view", "give --fov-deg")
    views: Tensor = pipeline(picture, wanted.targets, wanted.condition, fov, asked.scale, **options).images
    return views


def _wanted(asked: Asked) -> WantedCameras:
    if asked.cameras is not None:
        refuse(asked, _TURN_OPTIONS, "has no meaning beside --cameras")
        return read_cameras(asked.cameras, asked.input_frame)
    refuse(asked, ("input_frame",), "is a camera of the file that --cameras names")
    if not asked.azimuth_deg:
        raise InputError("no view is asked for", "give --cameras, or --azimuth-deg and --distance")
    if asked.distance is None:
        raise InputError("nothing says where the centre is that --azimuth-deg turns about", "give --distance")
    elevation, polar = math.radians(asked.elevation_deg or 0.0), math.radians(asked.polar_deg)
    azimuths = [float(angle) for angle in np.deg2rad(asked.azimuth_deg)]
    return cameras_around(asked.distance, elevation, azimuths, polar, asked.radius)


def refuse(asked: Asked, names: tuple[str, ...], why: str) -> None:
    """Refuse the first option of these that is given."""
    untouched = Asked()
    for name in names:
        if getattr(asked, name) != getattr(untouched, name):
            raise InputError(f"--{name.replace('_', '-')} {why}", "leave it out")
