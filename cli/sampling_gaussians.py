"""What `viewforge sample` makes with a model that makes Gaussians: their file, pictures and a video of them, and a mesh.

Imported when the command is called: it needs the systems.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blender_render.camera_sets import FOV, SIX_VIEW_RADIUS, View
from cli.sampling_cameras import Asked, refuse
from geometry.cameras import Intrinsics, look_at_origin
from geometry.ply import write_ply
from reconstruction.parameters import FusionParameters, TextureParameters
from reconstruction.textured import write_mesh
from reconstruction.texturing import check_target
from stage.errors import InputError
from systems.gaussian_pipeline import GaussianPipeline, pictures_of
from viewing.row import write_row
from viewing.view import Look, write_view

_OF_SCENES = ("distance", "cameras", "input_frame", "fov_deg", "scale")
_ORBIT = Look(frames=48, size=256, elevation=math.radians(20.0), fov=math.radians(40.0), radius=None)


def sample_gaussians(
    pipeline: GaussianPipeline,
    picture: Tensor,
    asked: Asked,
    output: Path,
    mesh: Path | None,
    **options: Any,  # noqa: ANN401 - the sampler's own
) -> str:
    """Make an object's Gaussians and write what is asked for; what was written, in words.

    Beside the file `output` a folder of its name gets `gaussians.ply`, `orbit.mp4`, `sheet.png` and, where the viewer is
    installed, `viewer.html`. The Gaussians are written first: what fails later loses none of them.

    Args:
        pipeline: the model.
        picture: the input view in [−1, 1].
        asked: the command's options; views are turned about the object from the input's camera.
        output: PNG of the input and the views, written where views are asked for.
        mesh: a .glb file, or none.
        **options: of the sampler.

    Raises:
        InputError: when an option belongs to other systems, or the model made nothing that shows.
    """
    refuse(asked, _OF_SCENES, f"belongs to ZeroNVS, and the model is a {type(pipeline).__name__}")
    if mesh:
        check_target(mesh)
    made = pipeline(picture, elevation_deg=asked.elevation_deg or 0.0, **options)
    (gaussians,) = made.gaussians
    folder = output.with_suffix("")
    write_ply(folder / "gaussians.ply", gaussians)
    if not len(gaussians):
        raise InputError(
            f"the model made no Gaussian that shows: {folder / 'gaussians.ply'} is empty", "train it longer"
        )
    written = [f"{len(gaussians):,} Gaussians in {folder}"]
    if asked.azimuth_deg:
        views = pictures_of(made.splatters[0], _cameras(asked, picture.shape[-1]))
        write_row(output, torch.cat([picture / 2 + 0.5, views]))
        written.append(f"{len(views)} views in {output}")
    write_view(folder, output.stem, gaussians, _ORBIT)
    if mesh:
        written.append(f"{write_mesh(mesh, gaussians, FusionParameters(), TextureParameters()).line()} in {mesh}")
    return ", ".join(written)


def _cameras(asked: Asked, size: int) -> list[View]:
    """Cameras in the input's frame: turned and moved from where training's input cameras stand, with their lens."""
    polar = math.pi / 2 - math.radians(asked.elevation_deg or 0.0) + math.radians(asked.polar_deg)
    radius = SIX_VIEW_RADIUS + asked.radius
    if radius <= 0.0:
        raise InputError(f"--radius {asked.radius} from {SIX_VIEW_RADIUS} leaves no distance", "give more")
    lens = Intrinsics.from_fov(float(FOV), size)
    return [View(look_at_origin(polar, math.radians(azimuth), radius), lens) for azimuth in asked.azimuth_deg]
