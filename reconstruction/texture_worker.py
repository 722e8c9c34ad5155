"""What a worker does with one mesh: decimate, unwrap, bake its colours into a texture, export a GLB.

`texture_mesh` is called by `stage.worker_host` in a process of its own. World: Z up; the GLB is Y up, as glTF has it, so that
programs import it upright. The same mesh gives the same bytes.
"""

import tempfile
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from catalog.procedural_textures import linear_from_srgb
from stage.failures import FailureClass, ObjectFailedError
from stage.files import replacing

# Neighbouring faces whose normals differ by less may share an island, radians.
_SAME_ISLAND = np.radians(66.0)
# Texels between islands, and how far colours are continued beyond them.
_MARGIN = 2
_SAMPLES = 4


def texture_mesh(payload: dict[str, Any]) -> dict[str, Any]:
    """Write a mesh as a GLB file with a base-colour texture, which appears whole or not at all.

    Args:
        payload: "mesh", an `.npz` file of vertices, faces and sRGB colours; "faces", most triangles; "size" of the texture,
            pixels; "reach", how far the decimated surface may lie from the mesh, world units; "output", the file.

    Returns:
        faces, vertices and open edges of the decimated mesh, and the share of the texture that its islands take.

    Raises:
        ObjectFailedError: when nothing is left of the mesh.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with np.load(payload["mesh"]) as arrays:
        dense = _mesh_object("dense", arrays["vertices"], arrays["faces"])
        _colour(dense, linear_from_srgb(arrays["colours"].astype(np.float64)))
    light = _decimated(dense, payload["faces"])
    if not len(light.data.polygons):
        raise ObjectFailedError(FailureClass.DEGENERATE, f"no face is left of {len(dense.data.polygons)}")
    _unwrap(light, _MARGIN / payload["size"])
    image = _textured(light, payload["size"])
    _bake(dense, light, payload["reach"])
    image.pack()
    with replacing(Path(payload["output"])) as temporary:
        _export(light, temporary)
    return {
        "faces": len(light.data.polygons),
        "vertices": len(light.data.vertices),
        "open_edges": _open_edges(light),
        "used": _area_of_islands(light),
    }


def _mesh_object(name: str, vertices: np.ndarray, faces: np.ndarray) -> "bpy.types.Object":
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", vertices.astype(np.float32).ravel())
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", faces.astype(np.int32).ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    mesh.update(calc_edges=True)
    return _linked(name, mesh)


def _linked(name: str, mesh: "bpy.types.Mesh") -> "bpy.types.Object":
    """A smooth object of a mesh, in the scene."""
    mesh.shade_smooth()
    node = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(node)
    return node


def _colour(node: "bpy.types.Object", linear: np.ndarray) -> None:
    """Let a mesh shine in the colours of its vertices, linear light, so that what is baked is nothing else."""
    attribute = node.data.color_attributes.new("Color", "FLOAT_COLOR", "POINT")
    rgba = np.concatenate([linear, np.ones_like(linear[:, :1])], axis=1)
    attribute.data.foreach_set("color", rgba.astype(np.float32).ravel())
    material = bpy.data.materials.new("vertex colours")
    tree = material.node_tree
    colour, shader = tree.nodes.new("ShaderNodeVertexColor"), tree.nodes.new("ShaderNodeEmission")
    colour.layer_name = "Color"
    tree.links.new(colour.outputs["Color"], shader.inputs["Color"])
    tree.links.new(shader.outputs["Emission"], tree.nodes["Material Output"].inputs["Surface"])
    node.data.materials.append(material)


def _decimated(dense: "bpy.types.Object", most: int) -> "bpy.types.Object":
    """A copy with at most so many triangles, by collapsing edges, without colours."""
    bare = bpy.data.objects.new("bare", dense.data.copy())
    bpy.context.scene.collection.objects.link(bare)
    modifier = bare.modifiers.new("decimate", "DECIMATE")
    modifier.ratio = min(1.0, most / len(dense.data.polygons))
    modifier.use_collapse_triangulate = True
    evaluated = bare.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = bpy.data.meshes.new_from_object(evaluated)
    bpy.data.objects.remove(bare)
    mesh.materials.clear()
    for attribute in list(mesh.color_attributes):
        mesh.color_attributes.remove(attribute)
    mesh.name = "object"
    return _linked("object", mesh)


def _unwrap(node: "bpy.types.Object", margin: float) -> None:
    """Texture coordinates by Blender's smart projection; `margin` lies between islands, as a share of the texture."""
    _select(node)
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.uv.smart_project(angle_limit=_SAME_ISLAND)
    bpy.ops.uv.select_all(action="SELECT")
    bpy.ops.uv.pack_islands(margin=margin, margin_method="FRACTION", shape_method="AABB")
    bpy.ops.object.mode_set(mode="OBJECT")


def _textured(node: "bpy.types.Object", size: int) -> "bpy.types.Image":
    """Give a mesh a rough material whose base colour is a new image, which baking fills."""
    image = bpy.data.images.new("texture", size, size, alpha=False)
    image.colorspace_settings.name = "sRGB"
    material = bpy.data.materials.new("surface")
    tree = material.node_tree
    shader, texture = tree.nodes["Principled BSDF"], tree.nodes.new("ShaderNodeTexImage")
    shader.inputs["Roughness"].default_value, shader.inputs["Metallic"].default_value = 1.0, 0.0
    texture.image = image
    tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    # Baking goes into the active node's image.
    tree.nodes.active = texture
    node.data.materials.append(material)
    return image


def _bake(dense: "bpy.types.Object", light: "bpy.types.Object", reach: float) -> None:
    """Fill the texture of one mesh with the colours of another that is near it."""
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.device = "CYCLES", "CPU"
    scene.cycles.samples, scene.cycles.use_adaptive_sampling, scene.cycles.use_denoising = _SAMPLES, False, False
    scene.cycles.seed = 0
    _select(light)
    dense.select_set(True)
    bpy.ops.object.bake(
        type="EMIT",
        use_selected_to_active=True,
        cage_extrusion=reach,
        max_ray_distance=2.0 * reach,
        margin=4 * _MARGIN,
        margin_type="EXTEND",
    )


def _select(node: "bpy.types.Object") -> None:
    """Make one object the active one and the only one that is selected."""
    for other in bpy.context.scene.objects:
        other.select_set(other is node)
    bpy.context.view_layer.objects.active = node


def _export(node: "bpy.types.Object", path: Path) -> None:
    """Write one object to `path`, whatever its ending: the exporter insists on .glb and gets it in a folder beside."""
    _select(node)
    with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=path.parent) as folder:
        exported = Path(folder) / "object.glb"
        bpy.ops.export_scene.gltf(
            filepath=str(exported), export_format="GLB", use_selection=True, export_animations=False, export_yup=True
        )
        exported.replace(path)


def _open_edges(node: "bpy.types.Object") -> int:
    """Edges of an odd number of faces."""
    edges = np.empty(len(node.data.loops), dtype=np.int32)
    node.data.loops.foreach_get("edge_index", edges)
    return int(np.count_nonzero(np.bincount(edges) % 2))


def _area_of_islands(node: "bpy.types.Object") -> float:
    """Share of the texture that faces use."""
    corners = np.empty(2 * len(node.data.loops), dtype=np.float32)
    node.data.uv_layers.active.uv.foreach_get("vector", corners)
    a, b, c = np.moveaxis(corners.reshape(-1, 3, 2).astype(np.float64), 1, 0)
    return float(0.5 * np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum())
