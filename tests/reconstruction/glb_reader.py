"""Worker function that imports a GLB file into Blender and says what a person finds there."""

import threading
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector
from mathutils.bvhtree import BVHTree
from mathutils.geometry import barycentric_transform


def look_at_glb(payload: dict[str, Any]) -> dict[str, Any]:
    """Import `glb`; bounds in Blender's world, faces, textures, and the texture's sRGB at the surface nearest to `points`."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=payload["glb"])
    (node,) = [each for each in bpy.context.scene.objects if each.type == "MESH"]
    corners = np.array([node.matrix_world @ vertex.co for vertex in node.data.vertices])
    textures = [each for each in node.active_material.node_tree.nodes if each.type == "TEX_IMAGE"]
    image = textures[0].image
    pixels = np.array(image.pixels).reshape(image.size[1], image.size[0], 4)
    return {
        "bounds": [corners.min(axis=0).tolist(), corners.max(axis=0).tolist()],
        "faces": len(node.data.polygons),
        "textures": [[*each.image.size, each.image.file_format] for each in textures],
        "colours": [_colour_at(node, Vector(point), pixels) for point in payload["points"]],
    }


def _colour_at(node: "bpy.types.Object", point: Vector, pixels: np.ndarray) -> list[float]:
    tree = BVHTree.FromObject(node, bpy.context.evaluated_depsgraph_get())
    place, _, number, _ = tree.find_nearest(node.matrix_world.inverted() @ point)
    loops = node.data.polygons[number].loop_indices
    corners = [node.data.vertices[node.data.loops[loop].vertex_index].co for loop in loops]
    coordinates = [Vector((*node.data.uv_layers.active.uv[loop].vector, 0.0)) for loop in loops]
    u, v, _ = barycentric_transform(place, *corners, *coordinates)
    height, width = pixels.shape[:2]
    return pixels[min(int(v * height), height - 1), min(int(u * width), width - 1), :3].tolist()


def hang(payload):
    """What a worker does that never comes to an end."""
    threading.Event().wait()


def photograph_glb(payload: dict[str, Any]) -> dict[str, Any]:
    """Import `glb` and write to `picture` what a camera at `c2w` with a field of view `fov` sees of it under a white sky."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=payload["glb"])
    scene = bpy.context.scene
    lens = bpy.data.cameras.new("camera")
    lens.angle = payload["fov"]
    scene.camera = bpy.data.objects.new("camera", lens)
    scene.collection.objects.link(scene.camera)
    scene.camera.matrix_world = Matrix(payload["c2w"])
    scene.world = bpy.data.worlds.new("sky")
    scene.world.node_tree.nodes["Background"].inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", 8
    scene.render.film_transparent, scene.view_settings.view_transform = True, "Standard"
    scene.render.resolution_x = scene.render.resolution_y = payload["size"]
    scene.render.image_settings.color_mode, scene.render.filepath = "RGBA", payload["picture"]
    bpy.ops.render.render(write_still=True)
    return {"objects": [node.type for node in scene.objects]}
