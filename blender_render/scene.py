"""One object's Blender scene: normalised, seen by a camera that alone moves, rendered by Cycles.

World: right-handed, Z up; the object is centred on its bounding box and its longest side is 1. Runs inside a worker process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from jaxtyping import Float, Int
from mathutils import Matrix

from blender_render.framing import WHOLE, Window
from blender_render.parameters import QualityParameters
from stage.failures import FailureClass, ObjectFailedError

SENSOR_MM = 32.0
_CLIP = (0.01, 100.0)
_LARGEST_EXTENT = 1e9
# Their bounding boxes need not hold their thickness.
_BOUNDLESS = {"CURVE", "SURFACE", "META", "FONT", "CURVES", "POINTCLOUD", "VOLUME", "GREASEPENCIL"}
_GEOMETRY_PASSES = ("use_pass_z", "use_pass_position", "use_pass_normal")
_ALBEDO_PASSES = ("use_pass_diffuse_color", "use_pass_glossy_color", "use_pass_transmission_color")


@dataclass(frozen=True)
class Normalisation:
    """How the original frame was mapped: normalised = scale · (original + offset)."""

    scale: float
    offset: tuple[float, float, float]


@dataclass(frozen=True)
class MeshStatistics:
    """What the evaluated scene consists of."""

    meshes: int
    vertices: int
    faces: int
    materials: int
    images: int


def normalise() -> tuple[Normalisation, MeshStatistics]:
    """Centre the scene on its bounding box and scale its longest side to 1.

    All roots are parented to one empty first, so that a scene of several roots keeps its arrangement.

    Raises:
        ObjectFailedError: degenerate, when a vertex is not finite or the extent is zero or beyond measure.
    """
    low, high, statistics = _measure()
    extent = float((high - low).max())
    if not np.isfinite(extent):
        raise ObjectFailedError(FailureClass.DEGENERATE, "a vertex is not finite")
    if not 0.0 < extent < _LARGEST_EXTENT:
        raise ObjectFailedError(FailureClass.DEGENERATE, f"the longest side is {extent:g}")
    scale, offset = 1.0 / extent, -0.5 * (low + high)
    frame = bpy.data.objects.new("normalised", None)
    bpy.context.scene.collection.objects.link(frame)
    for root in [o for o in bpy.context.scene.objects if o.parent is None and o is not frame]:
        root.parent = frame
    frame.matrix_world = Matrix.Scale(scale, 4) @ Matrix.Translation(offset)
    bpy.context.view_layer.update()
    return Normalisation(scale, (float(offset[0]), float(offset[1]), float(offset[2]))), statistics


def _measure() -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"], MeshStatistics]:
    """Bounding box and counts of everything that will be rendered, modifiers and instances applied."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    boxes, vertices, faces = [], 0, 0
    for instance in depsgraph.object_instances:
        obj = instance.object
        if obj.type != "MESH" or not len(obj.data.polygons) or (not instance.is_instance and obj.hide_render):
            continue
        points = np.empty(3 * len(obj.data.vertices), dtype=np.float32)
        obj.data.vertices.foreach_get("co", points)
        matrix = np.array(instance.matrix_world)
        seen = points.reshape(-1, 3)[_used_vertices(obj.data)].astype(np.float64)
        world = seen @ matrix[:3, :3].T + matrix[:3, 3]
        boxes.append((world.min(axis=0), world.max(axis=0)))
        vertices, faces = vertices + len(obj.data.vertices), faces + len(obj.data.polygons)
    if not boxes:
        raise ObjectFailedError(FailureClass.EMPTY, "nothing visible to render")
    statistics = MeshStatistics(len(boxes), vertices, faces, len(bpy.data.materials), len(bpy.data.images))
    low, high = zip(*boxes, strict=True)
    return np.min(low, axis=0), np.max(high, axis=0), statistics


def _used_vertices(mesh: "bpy.types.Mesh") -> Int[np.ndarray, " n"]:
    """Indices of the vertices that faces use; a stray one far away is not seen and must not shrink the object."""
    indices = np.empty(len(mesh.loops), dtype=np.int32)
    mesh.loops.foreach_get("vertex_index", indices)
    return np.unique(indices)


def add_camera(fov: float, size: int) -> "bpy.types.Object":
    """A square camera of the given full field of view, radians, whose matrix the caller sets for each view."""
    camera = bpy.data.cameras.new("camera")
    camera.sensor_fit, camera.sensor_width = "HORIZONTAL", SENSOR_MM
    camera.angle = fov
    camera.clip_start, camera.clip_end = _CLIP
    obj = bpy.data.objects.new("camera", camera)
    scene = bpy.context.scene
    scene.collection.objects.link(obj)
    scene.camera = obj
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    return obj


def place_camera(camera: "bpy.types.Object", c2w: Sequence[Sequence[float]]) -> None:
    """Put the camera where a 4×4 camera-to-world matrix in OpenGL axes says, which is Blender's own convention."""
    camera.matrix_world = Matrix(c2w)


def set_lens(camera: "bpy.types.Object", fov: float) -> None:
    """Give the camera a full field of view, radians, in place of that which it was made with."""
    camera.data.angle = fov


def configure_cycles(quality: QualityParameters, threads: int, seed: int) -> str:
    """Cycles with everything set that a default would decide, so that the same input gives the same bytes.

    Returns:
        The device that renders: "CPU", or Cycles' name of the GPU interface.
    """
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.threads_mode, scene.render.threads = "FIXED", threads
    scene.render.film_transparent = True
    scene.render.use_persistent_data = True
    scene.render.dither_intensity = 0.0
    scene.view_settings.view_transform, scene.view_settings.look = "Standard", "None"
    for name in (p for p in dir(scene.render) if p.startswith("use_stamp")):
        # Stamps put date and duration into the PNG.
        setattr(scene.render, name, False)
    settings: dict[str, Any] = {
        "seed": seed % 2**31,
        "max_bounces": 8,
        "diffuse_bounces": 1,
        "glossy_bounces": 1,
        "transmission_bounces": 3,
        "caustics_reflective": False,
        "caustics_refractive": False,
        "use_auto_tile": False,
        "use_light_tree": False,
        "denoiser": "OPENIMAGEDENOISE",
        "denoising_use_gpu": False,
    }
    for name, value in settings.items():
        setattr(scene.cycles, name, value)
    return _select_device(quality.device)


def _select_device(device: str) -> str:
    """Enable the GPUs of the first interface that has any; setting the interface alone leaves them off."""
    scene = bpy.context.scene
    scene.cycles.device = "CPU"
    if device == "cpu":
        return "CPU"
    preferences = bpy.context.preferences.addons["cycles"].preferences
    for interface in ("OPTIX", "CUDA", "HIP", "METAL"):
        try:
            preferences.compute_device_type = interface
        except TypeError:
            continue
        preferences.refresh_devices()
        found = [d for d in preferences.devices if d.type == interface]
        for entry in preferences.devices:
            entry.use = entry.type == interface
        if found:
            scene.cycles.device = "GPU"
            return interface
    if device == "gpu":
        raise ObjectFailedError(FailureClass.ERROR, "device: gpu, but Cycles finds none; set device: auto")
    return "CPU"


def outline() -> Float[np.ndarray, "n 3"]:
    """World points whose convex hull holds all that can be seen: corners of bounding boxes, instances included.

    No points when the scene holds more than meshes: a bounding box may not hold all of a curve or a volume.
    """
    depsgraph = bpy.context.evaluated_depsgraph_get()
    corners = []
    for instance in depsgraph.object_instances:
        if instance.object.type in _BOUNDLESS:
            return np.empty((0, 3))
        if instance.object.type == "MESH":
            matrix = np.array(instance.matrix_world)
            corners.append(np.array(instance.object.bound_box) @ matrix[:3, :3].T + matrix[:3, 3])
    return np.concatenate(corners) if corners else np.empty((0, 3))


def set_window(window: Window) -> None:
    """Render within a part of the picture; the rest stays background."""
    render = bpy.context.scene.render
    render.use_border, render.use_crop_to_border = window != WHOLE, False
    render.border_min_x, render.border_max_x = window.left, window.right
    render.border_min_y, render.border_max_y = window.bottom, window.top


def render_colour(path: Path, quality: QualityParameters) -> None:
    """Render the current view as an sRGB PNG with straight alpha."""
    scene = bpy.context.scene
    for name, value in _colour_settings(quality).items():
        setattr(scene.cycles, name, value)
    image = scene.render.image_settings
    image.media_type = "IMAGE"
    # Read once and deleted: not worth compressing.
    image.file_format, image.color_mode, image.color_depth, image.compression = "PNG", "RGBA", "8", 0
    _render(path)


def _colour_settings(quality: QualityParameters) -> dict[str, Any]:
    return {
        "samples": quality.samples,
        "use_adaptive_sampling": quality.noise_threshold > 0,
        "adaptive_threshold": quality.noise_threshold,
        "adaptive_min_samples": quality.least_samples,
        "use_denoising": quality.denoise,
        "denoising_quality": quality.denoiser_quality.upper(),
        "denoising_prefilter": quality.denoiser_prefilter.upper(),
        "transparent_max_bounces": quality.transparent_bounces,
        "pixel_filter_type": "BLACKMAN_HARRIS",
        "filter_width": 1.5,
    }


def render_geometry(path: Path, *, albedo: bool = False) -> None:
    """Render the current view's geometry as a 32-bit multilayer EXR, one sample at the pixel's centre, no antialiasing.

    Depth, position and normal, and with `albedo` the colour passes that it is the sum of.
    """
    scene, layer = bpy.context.scene, bpy.context.view_layer
    scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.use_adaptive_sampling = 1, False, False
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BOX", 0.01
    wanted = (*_GEOMETRY_PASSES, *(_ALBEDO_PASSES if albedo else ()))
    for name in wanted:
        setattr(layer, name, True)
    image = scene.render.image_settings
    image.media_type = "MULTI_LAYER_IMAGE"
    image.file_format, image.color_depth, image.exr_codec = "OPEN_EXR_MULTILAYER", "32", "NONE"
    image.use_exr_interleave = True
    _render(path)
    for name in wanted:
        setattr(layer, name, False)


def _render(path: Path) -> None:
    scene = bpy.context.scene
    scene.render.filepath = str(path)
    scene.render.use_file_extension = False
    bpy.ops.render.render(write_still=True)
    if not path.is_file():
        raise ObjectFailedError(FailureClass.ERROR, f"Blender wrote no {path.name}")
