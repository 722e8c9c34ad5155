"""Checks on an asset file before Blender sees it: Blender accepts some files that it should not.

Without an exception an importer may have read nothing, followed a reference out of the asset's folder, or filled the memory.
"""

from pathlib import Path

from blender_render import gltf_check, obj_files, scan_check
from blender_render.parameters import AssetParameters
from stage.failures import FailureClass, ObjectFailedError

FILE_TYPES = ("glb", "gltf", "obj", "stl", "ply", "fbx")


def check_asset(path: Path, parameters: AssetParameters) -> None:
    """Refuse a file that cannot be an asset, that refers to files outside its own folder, or that is too large to draw.

    Args:
        path: the asset's file.
        parameters: limits.

    Raises:
        ObjectFailedError: missing, parse, degenerate, unsafe or oversized.
    """
    if not path.is_file():
        raise ObjectFailedError(FailureClass.MISSING, f"no file {path}")
    if path.stat().st_size == 0:
        raise ObjectFailedError(FailureClass.PARSE, f"{path.name} has no bytes")
    faces = _count_faces(path, parameters)
    if faces > parameters.max_faces:
        raise _oversized(path, f"{faces:,} faces", parameters)
    if not _is_finite(path):
        raise ObjectFailedError(FailureClass.DEGENERATE, f"{path.name} has a vertex that is not finite")


def _count_faces(path: Path, parameters: AssetParameters) -> int:
    """Faces by the file's own counts, once its references are sound; 0 for a type that does not say."""
    match path.suffix.lower():
        case ".glb" | ".gltf":
            return _check_gltf(path, parameters)
        case ".obj":
            data = path.read_bytes()
            obj_files.material_libraries(path, data)
            return obj_files.count_faces(data)
        case ".stl":
            return scan_check.stl_faces(path)
        case ".ply":
            return scan_check.ply_faces(path)
    return 0


def _is_finite(path: Path) -> bool:
    """Whether all vertices are finite; of glTF, whose numbers may be compressed, the importer's observer knows."""
    match path.suffix.lower():
        case ".obj":
            return obj_files.is_finite(path.read_bytes())
        case ".stl":
            return scan_check.stl_is_finite(path)
        case ".ply":
            return scan_check.ply_is_finite(path)
    return True


def _check_gltf(path: Path, parameters: AssetParameters) -> int:
    """The faces of a glTF document that may be imported."""
    document = gltf_check.read_document(path)
    gltf_check.check_references(document, path)
    gltf_check.check_tree(document, path.name)
    corners = gltf_check.largest_accessor(document)
    if corners > 3 * parameters.max_faces:
        raise _oversized(path, f"an accessor of {corners:,} elements", parameters)
    return gltf_check.count_faces(document)


def _oversized(path: Path, size: str, parameters: AssetParameters) -> ObjectFailedError:
    limit = f"over the limit of {parameters.max_faces:,} faces (render.assets.max_faces)"
    return ObjectFailedError(FailureClass.OVERSIZED, f"{path.name} has {size}, {limit}")
