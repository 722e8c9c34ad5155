"""What a worker does to make one object's splatter images: six views with their passes, closed-form Gaussians, and a check.

The check renders views that were not used, re-renders the Gaussians from there and records how near they are. `splatter_object`
is called by `stage.worker_host` in a process of its own.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blender_render.camera_sets import View
from blender_render.closed_form import ClosedForm, Shot, albedo_picture, closed_form
from blender_render.opacity import hard_opacity
from blender_render.parameters import QualityParameters, SplatterParameters
from blender_render.rendered_object import RenderJob, write_cameras
from blender_render.splatter_files import write_splatter_files
from blender_render.splatter_quality import quality
from blender_render.studio import Studio, read_colour, read_geometry
from blender_render.worker import prepare_scene
from geometry.cameras import Intrinsics
from geometry.gaussians import Gaussians, concatenate
from stage.failures import FailureClass, ObjectFailedError
from stage.files import replacing_folder, write_json
from stage.stopwatch import Stopwatch

# A surface of this opacity or more gets Gaussians, as opaque as the picture is; fainter ones are not there.
_FAINTEST_SURFACE = 0.1


def splatter_object(payload: dict[str, Any]) -> dict[str, Any]:
    """Make the splatter folder of one object, which appears whole or not at all.

    Args:
        payload: "job", a `RenderJob` whose cameras are the six views; "check_cameras" and "supervision_cameras", c2w
            matrices; "lens", the intrinsics of both; "parameters", those of `SplatterParameters` that decide the Gaussians.

    Raises:
        ObjectFailedError: with the class of what is wrong with the object.
    """
    job, stopwatch = RenderJob(**payload["job"]), Stopwatch()
    parameters = SplatterParameters.model_validate(payload["parameters"])
    with stopwatch.phase("import"):
        record = prepare_scene(job)
    checks, supervision = (_views(payload[name], payload["lens"]) for name in ("check_cameras", "supervision_cameras"))
    with tempfile.TemporaryDirectory(prefix="viewforge-") as scratch:
        studio = Studio(job.lenses()[0], QualityParameters.model_validate(job.quality), Path(scratch), stopwatch)
        shots = capture(studio, job.views(), parameters.colour, passes=True)
        with stopwatch.phase("closed_form"):
            form = closed_form(shots, parameters)
        if not len(form.fused):
            raise ObjectFailedError(FailureClass.BLANK, "no view sees a surface")
        seen = capture(studio, [*supervision, *checks], parameters.colour)
    with stopwatch.phase("check"):
        record |= _judged(form, seen[len(supervision) :])
    record["supervision_views"] = len(supervision)
    _write(Path(job.output), job.views(), record, form, seen if supervision else [])
    return {"warnings": record["warnings"], "seconds": stopwatch.seconds()}


def _views(cameras: list[list[list[float]]], lens: dict[str, Any]) -> list[View]:
    return [View(np.array(matrix), Intrinsics(**lens)) for matrix in cameras]


def capture(studio: Studio, views: Sequence[View], colour: str, *, passes: bool = False) -> list[Shot]:
    """What the views show, lit or of albedo, and with `passes` their geometry; all colour is rendered first."""
    lit = colour == "lit"
    pictures = []
    for view in views if lit else []:
        studio.look(view.c2w.tolist(), view.intrinsics)
        pictures.append(read_colour(studio.colour()))
    geometries = []
    with hard_opacity(_FAINTEST_SURFACE):
        for view in views if passes or not lit else []:
            studio.look(view.c2w.tolist(), view.intrinsics)
            geometries.append(read_geometry(studio.geometry(albedo=not lit)))
    if not lit:
        pictures = [albedo_picture(geometry) for geometry in geometries]
    stored = geometries if passes else [None] * len(views)
    return [Shot(*parts) for parts in zip(views, pictures, stored, strict=True)]


def _judged(form: ClosedForm, checks: Sequence[Shot]) -> dict[str, Any]:
    """The record's entries about the Gaussians: their number, how near each set is to unseen views, and what it suffers from."""
    union = _union(form.images)
    return {
        "gaussians": len(form.fused),
        "union_gaussians": len(union),
        "quality": {"fused": quality(form.fused, checks), "union": quality(union, checks)},
        "shares": form.shares,
        "falls_short": form.falls_short,
    }


def _union(images: Sequence[Gaussians]) -> Gaussians:
    """The Gaussians of all splatter images that show."""
    return concatenate([image.select(image.opacities > 0.0) for image in images])


def _write(
    output: Path, views: Sequence[View], record: dict[str, Any], form: ClosedForm, seen: Sequence[Shot]
) -> None:
    with replacing_folder(output) as folder:
        write_splatter_files(folder, form.images, form.fused, views)
        if seen:
            _write_shots(folder / "views", seen)
        write_json(folder / "record.json", record)
        write_cameras(folder, views, [])


def _write_shots(folder: Path, shots: Sequence[Shot]) -> None:
    """Pictures and cameras in the layout of a rendered object, for refinement: those to learn from, then the check's."""
    folder.mkdir()
    for number, shot in enumerate(shots):
        Image.fromarray(shot.rgba).save(folder / f"{number:03d}.png", format="PNG")
    write_cameras(folder, [shot.view for shot in shots], [])
