"""Worker functions of `benchmarks.render`, which `stage.worker_host` runs: the farm's own, and the published scripts' way."""

import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy

from blender_render import scene
from blender_render.parameters import QualityParameters
from blender_render.rendered_object import RenderJob
from blender_render.worker import prepare_scene, render_object

_warm = False


def render_measured(payload: dict[str, Any]) -> dict[str, Any]:
    """The farm's own worker function; `seconds.cpu` of its answer is the process's user and system time."""
    return _measured(payload, render_object)


def render_as_published(payload: dict[str, Any]) -> dict[str, Any]:
    """What the published scripts do with an object: every view rendered from scratch, the picture left as Blender writes it."""
    return _measured(payload, _publish)


def _publish(payload: dict[str, Any]) -> dict[str, Any]:
    job, folder = RenderJob(**payload), Path(payload["output"])
    folder.mkdir(parents=True)
    prepare_scene(job)
    bpy.context.scene.render.use_persistent_data = False
    cycles = bpy.context.scene.cycles
    cycles.use_light_tree = cycles.use_auto_tile = cycles.caustics_reflective = cycles.caustics_refractive = True
    cycles.max_bounces = 12
    lens = job.lenses()[0]
    camera = scene.add_camera(lens.fov_x, lens.width)
    for number, matrix in enumerate(job.cameras):
        scene.place_camera(camera, matrix)
        scene.render_colour(folder / f"{number:03d}.png", QualityParameters.model_validate(job.quality))
    return {"seconds": {}}


def _measured(payload: dict[str, Any], render: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    global _warm
    if not _warm:
        output = payload["output"] + ".warm"
        render({**payload, "cameras": payload["cameras"][:1], "output": output})
        shutil.rmtree(output)
        _warm = True
    before = _cpu_seconds()
    answer = render(payload)
    return {**answer, "seconds": {**answer["seconds"], "cpu": _cpu_seconds() - before}}


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
