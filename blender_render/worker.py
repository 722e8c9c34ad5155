"""What a render worker does with one job: import, normalise, light, render every view, publish the folder.

`render_object` is called by `stage.worker_host` in a process of its own. A job is JSON, described by `RenderJob`.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from PIL import Image

from blender_render import lighting, passes, scene
from blender_render.asset_import import import_asset
from blender_render.clearance import settled
from blender_render.light_rigs import read_rig
from blender_render.opacity import hard_opacity
from blender_render.parameters import AssetParameters, QualityParameters
from blender_render.rendered_object import RenderJob, write_cameras
from blender_render.studio import Studio, read_colour, read_geometry
from geometry.cameras import zero123_from_c2w
from stage.failures import FailureClass, ObjectFailedError
from stage.files import file_sha256, replacing_folder, write_json
from stage.stopwatch import Stopwatch


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

    Returns:
        Warnings, and wall-clock "seconds" of the phases import, colour, geometry and encode; the last runs beside the others.

    Raises:
        ObjectFailedError: with the class of what is wrong with the object.
    """
    job, stopwatch = RenderJob(**payload), Stopwatch()
    with stopwatch.phase("import"):
        record = prepare_scene(job)
        job = settled(job)
    with replacing_folder(Path(job.output)) as folder:
        coverage = _render_views(folder, job, stopwatch)
        if float(np.mean(coverage)) < job.min_coverage:
            raise ObjectFailedError(FailureClass.BLANK, f"{np.mean(coverage):.4%} of the pixels are covered")
        record["coverage"] = [round(value, 6) for value in coverage]
        write_json(folder / "record.json", record)
        write_cameras(folder, job.views(), job.passes)
    return {"warnings": record["warnings"], "seconds": stopwatch.seconds()}


def _render_views(folder: Path, job: RenderJob, stopwatch: Stopwatch) -> list[float]:
    """Each view's mean alpha. All colour comes first, then all geometry: from one view to the next the camera alone changes.

    Pictures are encoded in a thread, since Blender lets go of the interpreter while it renders.
    """
    quality = QualityParameters.model_validate(job.quality)
    stems = [folder / f"{number:03d}" for number in range(len(job.cameras))]
    with tempfile.TemporaryDirectory(prefix="viewforge-") as scratch, ThreadPoolExecutor(1) as encoder:
        studio = Studio(job.lenses()[0], quality, Path(scratch), stopwatch)
        coverage = [
            encoder.submit(_save_view, stem, matrix, path, stopwatch)
            for stem, matrix, path in zip(stems, job.cameras, _colours(studio, job), strict=True)
        ]
        geometry = [
            encoder.submit(_save_geometry, stem, path, job.passes, stopwatch)
            for stem, path in zip(stems, _geometries(studio, job), strict=bool(job.passes))
        ]
        for written in geometry:
            written.result()
        return [value.result() for value in coverage]


def _colours(studio: Studio, job: RenderJob) -> Iterator[Path]:
    """Render the picture of each view, in its own light where it has one."""
    for number, (matrix, lens) in enumerate(zip(job.cameras, job.lenses(), strict=True)):
        if len(job.light_rigs) > 1:
            lighting.set_light(read_rig(job.light_rigs[number]), job.hdri)
        studio.look(matrix, lens)
        yield studio.colour()


def _geometries(studio: Studio, job: RenderJob) -> Iterator[Path]:
    """Render the geometry passes of each view; of none when none are asked for."""
    with hard_opacity():
        for matrix, lens in zip(job.cameras, job.lenses(), strict=True) if job.passes else []:
            studio.look(matrix, lens)
            yield studio.geometry(albedo="albedo" in job.passes)


def _save_view(stem: Path, matrix: list[list[float]], rendered: Path, stopwatch: Stopwatch) -> float:
    """Write picture and camera of a view; its mean alpha."""
    with stopwatch.phase("encode"):
        rgba = read_colour(rendered)
        Image.fromarray(rgba).save(stem.with_suffix(".png"), format="PNG")
        np.save(stem.with_suffix(".npy"), zero123_from_c2w(np.asarray(matrix)))
        return float(rgba[..., 3].mean() / 255.0)


def _save_geometry(stem: Path, rendered: Path, names: Sequence[str], stopwatch: Stopwatch) -> None:
    with stopwatch.phase("encode"):
        passes.save_passes(stem, read_geometry(rendered), names)
