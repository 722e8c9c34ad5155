"""What a worker does to make one object's splatter images: six views with their passes, closed-form Gaussians, and a check.

The check renders views that were not used, re-renders the fused Gaussians from there and records the PSNR. `splatter_object` is
called by `stage.worker_host` in a process of its own.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from blender_render.camera_sets import View
from blender_render.opacity import hard_opacity
from blender_render.parameters import QualityParameters
from blender_render.rendered_object import RenderJob, on_white, write_cameras
from blender_render.splatter_files import write_splatter_files
from blender_render.studio import Studio, read_colour, read_geometry
from blender_render.worker import prepare_scene
from geometry.cameras import Intrinsics
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians
from geometry.rasterizer import rasterize
from geometry.splatter import SplatterView, fuse, splatter_from_passes
from stage.failures import FailureClass, ObjectFailedError
from stage.files import replacing_folder, write_json
from stage.stopwatch import Stopwatch

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
    job, stopwatch = RenderJob(**payload["job"]), Stopwatch()
    with stopwatch.phase("import"):
        record = prepare_scene(job)
    lens = Intrinsics(**job.intrinsics)
    quality = QualityParameters.model_validate(job.quality)
    with tempfile.TemporaryDirectory(prefix="viewforge-") as scratch:
        studio = Studio(lens, quality, Path(scratch), stopwatch)
        views = _splatter_views(studio, job.cameras, lens, payload["footprint"], payload["opacity"])
        fused = fuse(views)
        if not len(fused):
            raise ObjectFailedError(FailureClass.BLANK, "no view sees a surface")
        scores = [_rerender_psnr(fused, studio, matrix, lens) for matrix in payload["check_cameras"]]
        supervision = payload["supervision_cameras"]
        seen = [*supervision, *payload["check_cameras"]] if supervision else []
        pictures = [_capture_colour(studio, matrix, lens) for matrix in seen]
    record["supervision_views"] = len(supervision)
    record["rerender_psnr"] = [round(score, 3) for score in scores]
    record["gaussians"] = len(fused)
    _write(Path(job.output), job, record, views, fused, [View(np.array(matrix), lens) for matrix in seen], pictures)
    return {"warnings": record["warnings"], "seconds": stopwatch.seconds()}


def _splatter_views(
    studio: Studio, cameras: list[list[list[float]]], lens: Intrinsics, footprint: float, opacity: float
) -> list[SplatterView]:
    """The Gaussians of each view; all colour is rendered first, then all geometry."""
    colours = [_capture_colour(studio, matrix, lens) for matrix in cameras]
    geometries = []
    with hard_opacity():
        for matrix in cameras:
            studio.look(matrix, lens)
            geometries.append(read_geometry(studio.geometry()))
    views = []
    for matrix, rgba, geometry in zip(cameras, colours, geometries, strict=True):
        rgb = rgba[..., :3].astype(np.float32) / 255.0
        seen = (rgb, geometry.position, geometry.depth, geometry.normal, np.array(matrix), lens)
        views.append(splatter_from_passes(*seen, footprint=footprint, opacity=opacity))
    return views


def _capture_colour(studio: Studio, matrix: list[list[float]], lens: Intrinsics) -> UInt8[np.ndarray, "h w 4"]:
    studio.look(matrix, lens)
    return read_colour(studio.colour())


def _rerender_psnr(gaussians: Gaussians, studio: Studio, matrix: list[list[float]], lens: Intrinsics) -> float:
    """PSNR of the Gaussians' picture against Blender's, on white, data range 1."""
    truth = on_white(_capture_colour(studio, matrix, lens))
    picture = rasterize(GaussianTensors.of(gaussians), np.array([matrix]), lens).rgb[0].numpy()
    error = max(float(np.mean((picture - truth) ** 2)), _LEAST_ERROR)
    return float(-10.0 * np.log10(error))


def _write(
    output: Path,
    job: RenderJob,
    record: dict[str, Any],
    views: list[SplatterView],
    fused: Gaussians,
    seen: list[View],
    pictures: list[UInt8[np.ndarray, "h w 4"]],
) -> None:
    with replacing_folder(output) as folder:
        write_splatter_files(folder, [view.gaussians for view in views], fused)
        write_json(folder / "record.json", record)
        write_cameras(folder, job.views(), [])
        if seen:
            _write_supervision(folder / "views", seen, pictures)


def _write_supervision(folder: Path, seen: list[View], pictures: list[UInt8[np.ndarray, "h w 4"]]) -> None:
    """The pictures that refinement learns from and is judged by, laid out as a rendered object."""
    folder.mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number:03d}.png", format="PNG")
    write_cameras(folder, seen, [])
