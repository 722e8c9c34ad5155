"""What a worker does to make one object's splatter images: six views with their passes, closed-form Gaussians, and a check.

The check renders views that were not used, re-renders the fused Gaussians from there and records the PSNR. `splatter_object` is
called by `stage.worker_host` in a process of its own.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image
from safetensors.numpy import save_file

from blender_render import scene
from blender_render.parameters import QualityParameters
from blender_render.rendered_object import RenderJob, on_white, write_cameras
from blender_render.worker import capture_geometry, prepare_scene
from geometry.cameras import Intrinsics
from geometry.gaussians import Gaussians
from geometry.ply import write_ply
from geometry.rasterizer import render
from geometry.splatter import SplatterView, fuse, splatter_from_passes
from stage.failures import FailureClass, ObjectFailedError
from stage.files import replacing_folder, write_json

# Equal pictures have no finite PSNR; 100 dB is more than 8 bits can tell.
_LEAST_ERROR = 1e-10


def splatter_object(payload: dict[str, Any]) -> dict[str, Any]:
    """Make the splatter folder of one object, which appears whole or not at all.

    Args:
        payload: "job", a `RenderJob` whose cameras are the six views; "check_cameras", c2w matrices; "footprint"
            and "opacity" as in `SplatterParameters`.

    Raises:
        ObjectFailedError: with the class of what is wrong with the object.
    """
    job = RenderJob(**payload["job"])
    record = prepare_scene(job)
    intrinsics = Intrinsics(**job.intrinsics)
    camera = scene.add_camera(intrinsics.fov_x, intrinsics.width)
    quality = QualityParameters.model_validate(job.quality)
    views = []
    for matrix in job.cameras:
        scene.place_camera(camera, matrix)
        views.append(_splatter_view(np.array(matrix), intrinsics, quality, payload["footprint"], payload["opacity"]))
    fused = fuse(views)
    if not len(fused):
        raise ObjectFailedError(FailureClass.BLANK, "no view sees a surface")
    scores = []
    for matrix in payload["check_cameras"]:
        scene.place_camera(camera, matrix)
        scores.append(_rerender_psnr(fused, np.array(matrix), intrinsics, quality))
    record["rerender_psnr"] = [round(score, 3) for score in scores]
    record["gaussians"] = len(fused)
    _write(Path(job.output), job, record, views, fused)
    return {"warnings": record["warnings"]}


def _splatter_view(
    c2w: Float[np.ndarray, "4 4"],
    intrinsics: Intrinsics,
    quality: QualityParameters,
    footprint: float,
    opacity: float,
) -> SplatterView:
    rgba = _capture_colour(quality)
    geometry = capture_geometry()
    return splatter_from_passes(
        rgba[..., :3].astype(np.float32) / 255.0,
        geometry.position,
        geometry.depth,
        geometry.normal,
        c2w,
        intrinsics,
        footprint=footprint,
        opacity=opacity,
    )


def _capture_colour(quality: QualityParameters) -> np.ndarray:
    temporary = Path(tempfile.mkdtemp(prefix="viewforge-"))
    try:
        scene.render_colour(temporary / "colour.png", quality)
        with Image.open(temporary / "colour.png") as image:
            return np.asarray(image.convert("RGBA"))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rerender_psnr(
    gaussians: Gaussians, c2w: Float[np.ndarray, "4 4"], intrinsics: Intrinsics, quality: QualityParameters
) -> float:
    """PSNR of the Gaussians' picture against Blender's, on white, data range 1."""
    truth = on_white(_capture_colour(quality))
    picture, _ = render(gaussians, c2w, intrinsics)
    error = max(float(np.mean((picture.numpy() - truth) ** 2)), _LEAST_ERROR)
    return float(-10.0 * np.log10(error))


def _write(output: Path, job: RenderJob, record: dict[str, Any], views: list[SplatterView], fused: Gaussians) -> None:
    with replacing_folder(output) as folder:
        for number, view in enumerate(views):
            write_ply(folder / f"splatter_{number}.ply", view.gaussians)
        write_ply(folder / "fused.ply", fused)
        side = Intrinsics(**job.intrinsics).width
        # The file holds the memory as it lies, so it must lie in the order of the axes.
        tensor = np.ascontiguousarray(np.stack([_channels(view, side) for view in views]))
        save_file({"splatter": tensor}, folder / "splatter.safetensors")
        write_json(folder / "record.json", record)
        write_cameras(folder, job)


def _channels(view: SplatterView, side: int) -> np.ndarray:
    """A view's 14 channels as float16 (14, H, W): position 3, opacity 1, linear scale 3, rotation wxyz 4, RGB 3."""
    splats = view.gaussians
    columns = [splats.means, splats.opacities[:, None], splats.scales, splats.quaternions, splats.colours]
    return np.concatenate(columns, axis=1).T.reshape(14, side, side).astype(np.float16)
