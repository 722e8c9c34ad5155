"""Importing one asset into an empty Blender scene, and repairing what importers leave undone.

Lights and cameras of the asset are removed, hidden objects stay hidden, what moves stands at rest, vertex colours without a
shader are connected, and textures come from the asset's own folder or not at all. Runs inside a worker process.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy_extras import image_utils

from blender_render import gltf_observer, obj_files
from blender_render.asset_check import check_asset
from blender_render.parameters import AssetParameters
from blender_render.references import absent, file_name, target_below
from blender_render.textures import settle_textures
from stage.failures import FailureClass, ObjectFailedError

# The frames that Blender can go to.
_FRAMES = (-1_000_000, 1_000_000)


@dataclass(frozen=True)
class ImportedAsset:
    """What is worth saying of an import.

    Args:
        warnings: a sentence for each repair.
        missing_textures: names of textures that were not found, and how many places of materials lack each.
    """

    warnings: list[str]
    missing_textures: dict[str, int]


def import_asset(path: Path, up_axis: str, parameters: AssetParameters) -> ImportedAsset:
    """Empty the session and import a file.

    Args:
        path: glTF, OBJ, STL, PLY or FBX file.
        up_axis: "Y" or "Z", the up axis of an OBJ file, which does not say; other formats are read by their own rules.
        parameters: limits, and whether textures may be missing.

    Raises:
        ObjectFailedError: missing, parse, empty, degenerate, unsafe, oversized or missing-texture.
    """
    check_asset(path, parameters)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    try:
        _importer(path, up_axis)
    except RuntimeError as error:
        raise ObjectFailedError(FailureClass.PARSE, _cause(error)) from None
    _hide_what_is_hidden()
    warnings = _to_rest()
    _remove_lights_and_cameras()
    if not any(obj.type == "MESH" and len(obj.data.polygons) for obj in bpy.data.objects):
        raise ObjectFailedError(FailureClass.EMPTY, f"{path.name} holds no faces")
    missing = settle_textures(path, parameters)
    _connect_vertex_colours()
    return ImportedAsset([*(f"missing texture: {name}" for name in missing), *warnings], missing)


def _importer(path: Path, up_axis: str) -> None:
    match path.suffix.lower():
        case ".glb" | ".gltf":
            _import_gltf(path)
        case ".obj":
            forward = "NEGATIVE_Z" if up_axis == "Y" else "Y"
            with obj_files.confined(path) as place:
                bpy.ops.wm.obj_import(filepath=str(place), forward_axis=forward, up_axis=up_axis)
        case ".stl":
            bpy.ops.wm.stl_import(filepath=str(path))
        case ".ply":
            bpy.ops.wm.ply_import(filepath=str(path))
        case ".fbx":
            with _textures_below(path.parent), _lights_read():
                bpy.ops.import_scene.fbx(filepath=str(path))
        case suffix:
            raise ObjectFailedError(FailureClass.PARSE, f"no importer for {suffix} files")


def _import_gltf(path: Path) -> None:
    """Import with an observer, which is an add-on to the importer; the preferences were emptied with the session."""
    observer, log = gltf_observer.observe(), logging.getLogger("glTFImporter_errors")
    bpy.context.preferences.addons.new().module = gltf_observer.__name__
    log.addHandler(observer)
    try:
        # A shape to draw bones with would be an object more.
        bpy.ops.import_scene.gltf(filepath=str(path), merge_vertices=True, disable_bone_shape=True)
    finally:
        log.removeHandler(observer)
    observer.check()


@contextmanager
def _textures_below(folder: Path) -> Iterator[None]:
    """While it lasts importers written in Python load pictures from below a folder alone; others become placeholders.

    FBX files name textures by the paths of the machine that they come from, and the importer would search those.
    """
    anywhere = image_utils.load_image

    def below(imagepath: str, **_: object) -> Any:  # noqa: ANN401 - a Blender image
        target = target_below(folder, imagepath.removeprefix(f"{folder}/"))
        place = target if target and target.is_file() else absent(folder, file_name(imagepath))
        return anywhere(str(place), place_holder=True)

    image_utils.load_image = below
    try:
        yield
    finally:
        image_utils.load_image = anywhere


@contextmanager
def _lights_read() -> Iterator[None]:
    """While it lasts the FBX importer makes plain lights: reading theirs it fails on a setting that Blender 5 took away."""
    from io_scene_fbx import import_fbx

    broken = import_fbx.blen_read_light
    import_fbx.blen_read_light = lambda *_: bpy.data.lights.new("light", "POINT")
    try:
        yield
    finally:
        import_fbx.blen_read_light = broken


def _cause(error: BaseException) -> str:
    """The last line that says what happened; an importer's trace ends with where Blender called it."""
    lines = [line.strip() for line in str(error).splitlines()]
    causes = [line for line in lines if line and not line.startswith("Location:")]
    return causes[-1] if causes else repr(error)


def _hide_what_is_hidden() -> None:
    """Leave hidden objects and all below them out of pictures; FBX files hide them from Blender's viewport alone."""
    for obj in [o for o in bpy.data.objects if o.hide_viewport or o.hide_render]:
        for hidden in (obj, *obj.children_recursive):
            hidden.hide_render = True


def _to_rest() -> list[str]:
    """Stand still: animations at the first frame that any has, skeletons in their rest pose; a warning for each."""
    warnings = []
    if bpy.data.actions:
        first = np.nan_to_num(min(action.frame_range[0] for action in bpy.data.actions))
        bpy.context.scene.frame_set(int(np.clip(first, *_FRAMES)))
        frame = bpy.context.scene.frame_current
        warnings.append(f"animated: {len(bpy.data.actions)} actions, the first frame ({frame}) is rendered")
    if bpy.data.armatures:
        for armature in bpy.data.armatures:
            armature.pose_position = "REST"
        warnings.append(f"rigged: {len(bpy.data.armatures)} skeletons, rendered in their rest pose")
    return warnings


def _remove_lights_and_cameras() -> None:
    """Remove what the asset brings; an object below one keeps its place."""
    bpy.context.view_layer.update()
    for obj in [o for o in bpy.data.objects if o.type in {"LIGHT", "CAMERA"}]:
        for child in obj.children:
            place = child.matrix_world.copy()
            child.parent = None
            child.matrix_world = place
        bpy.data.objects.remove(obj)


def _connect_vertex_colours() -> None:
    """Show colour attributes: importers read them but leave them out of the shader."""
    for mesh in bpy.data.meshes:
        if not mesh.color_attributes:
            continue
        if not mesh.materials:
            mesh.materials.append(bpy.data.materials.new("vertex colours"))
        for material in filter(None, mesh.materials):
            base = _principled_base_colour(material)
            if base and not base.is_linked:
                node = material.node_tree.nodes.new("ShaderNodeVertexColor")
                node.layer_name = mesh.color_attributes[0].name
                material.node_tree.links.new(node.outputs["Color"], base)


def _principled_base_colour(material: "bpy.types.Material") -> Any:  # noqa: ANN401 - a Blender socket
    for node in material.node_tree.nodes if material.node_tree else []:
        if node.type == "BSDF_PRINCIPLED":
            return node.inputs["Base Color"]
    return None
