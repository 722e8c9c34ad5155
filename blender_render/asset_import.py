"""Importing one asset into an empty Blender scene, and repairing what importers leave undone.

Lights and cameras of the asset are removed, vertex colours without a shader are connected, textures are looked for where
Google Scanned Objects keeps them, and missing ones give way to the plain base colour. Runs inside a worker process.
"""

from pathlib import Path
from typing import Any

import bpy

from blender_render.asset_check import check_asset
from stage.failures import FailureClass, ObjectFailedError

# Relative to the folder of the asset file; the second is the layout of Google Scanned Objects.
_TEXTURE_FOLDERS = (".", "../materials/textures")
_NEUTRAL = (0.6, 0.6, 0.6, 1.0)


def import_asset(path: Path, up_axis: str) -> list[str]:
    """Empty the session and import a file.

    Args:
        path: glTF, OBJ, STL, PLY or FBX file.
        up_axis: "Y" or "Z", the up axis of an OBJ file, which does not say; other formats are read by their own rules.

    Returns:
        Warnings, such as textures that were not found.

    Raises:
        ObjectFailedError: missing, parse, empty or unsafe.
    """
    check_asset(path)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    try:
        _importer(path, up_axis)
    except RuntimeError as error:
        raise ObjectFailedError(FailureClass.PARSE, _cause(error)) from None
    _remove_lights_and_cameras()
    if not any(obj.type == "MESH" and len(obj.data.polygons) for obj in bpy.data.objects):
        raise ObjectFailedError(FailureClass.EMPTY, f"{path.name} holds no faces")
    warnings = _find_textures(path)
    _connect_vertex_colours()
    if bpy.data.actions:
        warnings.append(f"animated: {len(bpy.data.actions)} actions, the pose of the first frame is rendered")
    return warnings


def _importer(path: Path, up_axis: str) -> None:
    name = str(path)
    match path.suffix.lower():
        case ".glb" | ".gltf":
            bpy.ops.import_scene.gltf(filepath=name, merge_vertices=True)
        case ".obj":
            forward = "NEGATIVE_Z" if up_axis == "Y" else "Y"
            bpy.ops.wm.obj_import(filepath=name, forward_axis=forward, up_axis=up_axis)
        case ".stl":
            bpy.ops.wm.stl_import(filepath=name)
        case ".ply":
            bpy.ops.wm.ply_import(filepath=name)
        case ".fbx":
            bpy.ops.import_scene.fbx(filepath=name)
        case suffix:
            raise ObjectFailedError(FailureClass.PARSE, f"no importer for {suffix} files")


def _cause(error: BaseException) -> str:
    """The last line that says what happened; an importer's trace ends with where Blender called it."""
    lines = [line.strip() for line in str(error).splitlines()]
    causes = [line for line in lines if line and not line.startswith("Location:")]
    return causes[-1] if causes else repr(error)


def _remove_lights_and_cameras() -> None:
    for obj in list(bpy.data.objects):
        if obj.type in {"LIGHT", "CAMERA"}:
            bpy.data.objects.remove(obj)


def _find_textures(asset: Path) -> list[str]:
    """Load each image that is not there from the folders it may lie in; unlink what cannot be found."""
    warnings = []
    for image in [i for i in bpy.data.images if i.source == "FILE" and not i.size[0]]:
        name = Path(image.filepath.replace("\\", "/")).name
        found = next((p for f in _TEXTURE_FOLDERS if (p := asset.parent / f / name).is_file()), None)
        if not (found and _replace(image, found)):
            warnings.append(f"missing texture: {name}")
            _unlink(image)
    return warnings


def _replace(missing: "bpy.types.Image", path: Path) -> bool:
    """Put the picture at `path` in a missing one's place; an image that failed once cannot be loaded again."""
    image = bpy.data.images.load(str(path))
    if not image.size[0]:
        return False
    image.colorspace_settings.name = missing.colorspace_settings.name
    missing.user_remap(image)
    bpy.data.images.remove(missing)
    return True


def _unlink(missing: "bpy.types.Image") -> None:
    """Take a missing texture out of its materials: Blender would paint it magenta."""
    for material in bpy.data.materials:
        for node in list(material.node_tree.nodes) if material.node_tree else []:
            if node.type == "TEX_IMAGE" and node.image == missing:
                for link in list(node.outputs[0].links):
                    if link.to_socket.type == "RGBA":
                        link.to_socket.default_value = _NEUTRAL
                material.node_tree.nodes.remove(node)


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
