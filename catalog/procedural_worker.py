"""The worker that turns procedural recipes into GLB files; runs in its own process, the only one here with bpy.

`python -m stage.worker_host catalog.procedural_worker:compose` serves jobs. The same seed gives a byte-identical file:
names, order and images come from the recipe alone, and the exporter writes no date.
"""

import tempfile
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from catalog.procedural_meshes import MeshArrays, build_mesh
from catalog.procedural_parts import Look, ObjectRecipe, Part
from catalog.procedural_recipe import recipe
from catalog.procedural_scene import scene_recipe
from catalog.procedural_textures import linear_from_srgb, texture_png, vertex_colors
from stage.files import replacing

_RECIPES = {"procedural": recipe, "scene": scene_recipe}


def compose(job: dict[str, Any]) -> dict[str, Any]:
    """Build the object or the scene of a seed and export it.

    Args:
        job: `uid`, `source` (`procedural`, which is the default, or `scene`), `seed` and `output`, the path of the .glb to write.
            The uid does not get into the file.

    Returns:
        title, tags, families, faces (triangles) and vertices (before the exporter splits them at texture seams).
    """
    description = _RECIPES[job.get("source", "procedural")](int(job["seed"]))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    builder = SceneBuilder()
    builder.build(description)
    with replacing(Path(job["output"])) as temporary:
        _export(temporary)
    return {
        "title": description.title,
        "tags": list(description.tags),
        "families": list(description.families),
        "faces": builder.faces,
        "vertices": builder.vertices,
    }


class SceneBuilder:
    """Fills the open, empty scene; parts that are alike share one mesh, looks that are alike one material."""

    def __init__(self) -> None:
        self.faces = 0
        self.vertices = 0
        self._nodes: dict[str, bpy.types.Object] = {}
        self._meshes: dict[tuple[Any, ...], bpy.types.Mesh] = {}
        self._materials: dict[Look, bpy.types.Material] = {}

    def build(self, description: ObjectRecipe) -> None:
        """Add all nodes of the object to the scene."""
        for group in description.groups:
            node = self._add_node(group.name, None, group.parent)
            node.location, node.scale = group.position, (group.scale,) * 3
            node.rotation_euler = (0.0, 0.0, group.turn)
        for part in description.parts:
            mesh = self._mesh(part)
            node = self._add_node(part.name, mesh, part.parent)
            node.location, node.rotation_euler = part.position, part.rotation
            self.faces += len(mesh.polygons)
            self.vertices += len(mesh.vertices)

    def _add_node(self, name: str, mesh: bpy.types.Mesh | None, parent: str | None) -> bpy.types.Object:
        node = bpy.data.objects.new(name, mesh)
        bpy.context.scene.collection.objects.link(node)
        if parent is not None:
            node.parent = self._nodes[parent]
        self._nodes[name] = node
        return node

    def _mesh(self, part: Part) -> bpy.types.Mesh:
        key = (part.shape, part.size, part.profile, part.look)
        if key not in self._meshes:
            arrays = build_mesh(part.shape, part.size, part.profile)
            self._meshes[key] = _blender_mesh(part.name, arrays, part.look)
            self._meshes[key].materials.append(self._material(part.look))
        return self._meshes[key]

    def _material(self, look: Look) -> bpy.types.Material:
        if look not in self._materials:
            self._materials[look] = _blender_material(f"material-{len(self._materials):02d}", look)
        return self._materials[look]


def _blender_mesh(name: str, arrays: MeshArrays, look: Look) -> bpy.types.Mesh:
    """A mesh with only the attributes that the look needs: every one of them costs bytes."""
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(arrays.vertices))
    mesh.vertices.foreach_set("co", arrays.vertices.astype(np.float32).ravel())
    mesh.loops.add(arrays.faces.size)
    mesh.loops.foreach_set("vertex_index", arrays.faces.ravel())
    mesh.polygons.add(len(arrays.faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, arrays.faces.size, 3, dtype=np.int32))
    if look.texture is not None:
        layer = mesh.uv_layers.new(name="UVMap")
        layer.uv.foreach_set("vector", arrays.uvs.astype(np.float32).ravel())
    if look.vertex_colors:
        attribute = mesh.color_attributes.new("Color", "FLOAT_COLOR", "POINT")
        attribute.data.foreach_set("color", vertex_colors(look, arrays.vertices).astype(np.float32).ravel())
    mesh.update(calc_edges=True)
    mesh.shade_smooth()
    return mesh


def _blender_material(name: str, look: Look) -> bpy.types.Material:
    """A principled material whose base colour is plain, an image, or the vertex colours."""
    material = bpy.data.materials.new(name)
    # Thin parts are closed solids, so back faces never need to be seen.
    material.use_backface_culling = True
    tree = material.node_tree
    shader = tree.nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = look.roughness
    shader.inputs["Metallic"].default_value = look.metallic
    if look.emission:
        shader.inputs["Emission Color"].default_value = (*linear_from_srgb(np.asarray(look.color)), 1.0)
        shader.inputs["Emission Strength"].default_value = look.emission
    color = shader.inputs["Base Color"]
    color.default_value = (*linear_from_srgb(np.asarray(look.color)), 1.0)
    if look.texture is not None:
        node = tree.nodes.new("ShaderNodeTexImage")
        node.image = _packed_image(name.replace("material", "texture"), texture_png(look))
        tree.links.new(node.outputs["Color"], color)
    elif look.vertex_colors:
        node = tree.nodes.new("ShaderNodeVertexColor")
        node.layer_name = "Color"
        tree.links.new(node.outputs["Color"], color)
    return material


def _packed_image(name: str, png: bytes) -> bpy.types.Image:
    """An image held in memory as a PNG file, which the exporter copies as it is."""
    image = bpy.data.images.new(name, 1, 1)
    image.pack(data=png, data_len=len(png))
    image.source = "FILE"
    return image


def _export(path: Path) -> None:
    """Write the scene to `path`, whatever its ending: the exporter insists on .glb and gets it in a folder beside."""
    with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=path.parent) as folder:
        exported = Path(folder) / "object.glb"
        bpy.ops.export_scene.gltf(
            filepath=str(exported),
            export_format="GLB",
            export_animations=False,
            export_skins=False,
            export_morph=False,
            export_yup=True,
        )
        exported.replace(path)
