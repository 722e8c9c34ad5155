"""The textures of an imported asset: none too large, none from outside its folder, and what becomes of those that are missing.

Runs inside a worker process. Blender decodes a picture when somebody asks for its size, so its header is read first.
"""

import io
from collections import Counter
from pathlib import Path

import bpy
from PIL import Image

from blender_render.parameters import AssetParameters
from blender_render.references import file_name, texture_by_name
from stage.failures import FailureClass, ObjectFailedError

_NEUTRAL = (0.6, 0.6, 0.6, 1.0)
_NAMELESS = "(no file)"


def settle_textures(asset: Path, parameters: AssetParameters) -> dict[str, int]:
    """Load what can be found, refuse what is too large, and give the plain base colour to what is missing.

    Args:
        asset: the asset's file, beside which textures are looked for by name.
        parameters: largest texture, and whether an asset may lack any.

    Returns:
        The names of missing textures and how many places of materials lack each.

    Raises:
        ObjectFailedError: oversized, or missing-texture where such assets are excluded.
    """
    missing: Counter[str] = Counter()
    for image in [i for i in bpy.data.images if i.source == "FILE"]:
        name = file_name(image.filepath) or image.name
        _check_size(image, name, parameters)
        if not image.size[0] and not _found_by_name(image, asset, name, parameters):
            missing[name] += _unlink(image)
    if nameless := _unlink(None):
        missing[_NAMELESS] += nameless
    if missing and parameters.missing_textures == "exclude":
        raise ObjectFailedError(FailureClass.MISSING_TEXTURE, f"missing textures: {', '.join(sorted(missing))}")
    return dict(sorted(missing.items()))


def _check_size(image: "bpy.types.Image", name: str, parameters: AssetParameters) -> None:
    """Refuse a picture of more pixels than the limit by its header alone."""
    packed = image.packed_file
    path = Path(bpy.path.abspath(image.filepath))
    width, height = _header_size(io.BytesIO(packed.data)) if packed else _header_size(path)
    if width * height > parameters.max_texture_pixels:
        limit = f"over the limit of {parameters.max_texture_pixels:,} pixels (render.assets.max_texture_pixels)"
        raise ObjectFailedError(FailureClass.OVERSIZED, f"the texture {name} has {width}×{height}, {limit}")


def _header_size(source: Path | io.BytesIO) -> tuple[int, int]:
    """Width and height as a picture's header says; 0 for what is no picture, or of a type that Blender alone reads."""
    ours, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(source) as picture:
            return picture.size
    except (OSError, ValueError, SyntaxError):
        return 0, 0
    finally:
        Image.MAX_IMAGE_PIXELS = ours


def _found_by_name(missing: "bpy.types.Image", asset: Path, name: str, parameters: AssetParameters) -> bool:
    """Put the file of that name near the asset in a missing one's place; an image that failed once cannot be loaded again."""
    path = texture_by_name(asset, name)
    if path is None:
        return False
    image = bpy.data.images.load(str(path))
    _check_size(image, name, parameters)
    if not image.size[0]:
        return False
    image.colorspace_settings.name = missing.colorspace_settings.name
    missing.user_remap(image)
    bpy.data.images.remove(missing)
    return True


def _unlink(missing: "bpy.types.Image | None") -> int:
    """Take a missing texture out of its materials: Blender would paint it magenta. How many places had it."""
    places = 0
    for material in bpy.data.materials:
        for node in list(material.node_tree.nodes) if material.node_tree else []:
            if node.type == "TEX_IMAGE" and node.image == missing:
                places += 1
                for link in list(node.outputs[0].links):
                    if link.to_socket.type == "RGBA":
                        link.to_socket.default_value = _NEUTRAL
                material.node_tree.nodes.remove(node)
    return places
