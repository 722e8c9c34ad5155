"""Worker function of `benchmarks.splatter`, which `stage.worker_host` runs: shots for the closed form and its truth."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from blender_render.parameters import QualityParameters
from blender_render.rendered_object import RenderJob
from blender_render.splatter_worker import capture
from blender_render.studio import Studio
from blender_render.worker import prepare_scene
from stage.files import replacing_folder, write_json
from stage.stopwatch import Stopwatch

PASSES = ("depth", "position", "normal")


def capture_object(payload: dict[str, Any]) -> dict[str, Any]:
    """Lit colour and geometry of every camera of a job, in `shots.npz`."""
    job, stopwatch = RenderJob(**payload), Stopwatch()
    record = prepare_scene(job)
    with tempfile.TemporaryDirectory(prefix="viewforge-") as scratch:
        studio = Studio(job.lenses()[0], QualityParameters.model_validate(job.quality), Path(scratch), stopwatch)
        shots = capture(studio, job.views(), "lit", passes=True)
    arrays = {name: np.stack([getattr(shot.geometry, name) for shot in shots]) for name in PASSES}
    with replacing_folder(Path(job.output)) as folder:
        np.savez(folder / "shots.npz", rgba=np.stack([shot.rgba for shot in shots]), **arrays)
        write_json(folder / "record.json", record)
    return {"warnings": record["warnings"], "seconds": stopwatch.seconds()}
