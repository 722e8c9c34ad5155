"""What a render worker does with one job: import, normalise, light, render every view, publish the folder.

`render_object` is called by `stage.worker_host` in a process of its own. A job is JSON, described by `RenderJob`.
"""

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from PIL import Image

from blender_render import lighting, passes, scene
from blender_render.asset_import import import_asset
from blender_render.light_rigs import read_rig
from blender_render.parameters import AssetParameters, QualityParameters
from blender_render.rendered_object import RenderJob, write_cameras
from geometry.cameras import zero123_from_c2w
from stage.failures import FailureClass, ObjectFailedError
from stage.files import file_sha256, replacing_folder, write_json


def prepare_scene(job: RenderJob) -> dict[str, Any]:
    """Import and set up one object; the fields of its record that are known before rendering."""
    _check_bytes(job)
    imported = import_asset(Path(job.asset), job.up_axis, AssetParameters.model_validate(job.assets))
    normalisation, statistics = scene.normalise()
    quality = QualityParameters.model_validate(job.quality)
    lighting.set_light(read_rig(job.light_rigs[0]), job.hdri)
    device = scene.configure_cycles(quality, job.threads, job.seed)
    return {
        "uid": job.uid,
        "asset_sha256": job.asset_sha256,
        "fingerprint": job.fingerprint,
        "seed": job.seed,
        "input_views": job.input_views,
        "blender_version": bpy.app.version_string,
        "device": device,
        "normalisation": asdict(normalisation),
        "statistics": asdict(statistics),
        "missing_textures": imported.missing_textures,
        "warnings": imported.warnings,
    }


def _check_bytes(job: RenderJob) -> None:
    path = Path(job.asset)
    if path.is_file() and file_sha256(path) != job.asset_sha256:
        raise ObjectFailedError(FailureClass.CHECKSUM, f"{path.name} has changed since it was catalogued")


def render_object(payload: dict[str, Any]) -> dict[str, Any]:
    """Render all views of one object into its folder, which appears whole or not at all.

    Raises:
        ObjectFailedError: with the class of what is wrong with the object.
    """
    job = RenderJob(**payload)
    record = prepare_scene(job)
    lenses = job.lenses()
    camera = scene.add_camera(lenses[0].fov_x, lenses[0].width)
    quality = QualityParameters.model_validate(job.quality)
    with replacing_folder(Path(job.output)) as folder:
        coverage = []
        for number, matrix in enumerate(job.cameras):
            scene.place_camera(camera, matrix)
            scene.set_lens(camera, lenses[number].fov_x)
            if len(job.light_rigs) > 1:
                lighting.set_light(read_rig(job.light_rigs[number]), job.hdri)
            stem = folder / f"{number:03d}"
            coverage.append(_render_view(stem, quality))
            np.save(stem.with_suffix(".npy"), zero123_from_c2w(np.asarray(matrix)))
        if float(np.mean(coverage)) < job.min_coverage:
            raise ObjectFailedError(FailureClass.BLANK, f"{np.mean(coverage):.4%} of the pixels are covered")
        record["coverage"] = [round(value, 6) for value in coverage]
        write_json(folder / "record.json", record)
        write_cameras(folder, job)
    return {"warnings": record["warnings"]}


def _render_view(stem: Path, quality: QualityParameters) -> float:
    """Colour, depth and normal of the current view; its mean alpha."""
    colour = stem.with_suffix(".png")
    scene.render_colour(colour, quality)
    geometry = capture_geometry()
    passes.save_depth(stem.with_name(f"{stem.name}_depth.png"), geometry.depth)
    passes.save_normal(stem.with_name(f"{stem.name}_normal.png"), geometry.normal)
    with Image.open(colour) as image:
        return float(np.asarray(image)[..., 3].mean() / 255.0)


def capture_geometry() -> passes.GeometryPasses:
    """The geometry passes of the current view."""
    temporary = Path(tempfile.mkdtemp(prefix="viewforge-"))
    try:
        scene.render_geometry(temporary / "geometry.exr")
        return passes.read_exr(temporary / "geometry.exr")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
