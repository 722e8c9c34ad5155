"""Checks on an asset file before Blender sees it: Blender accepts some files that it should not.

Without an exception an importer may have read nothing, followed a reference out of the asset's folder, or filled the memory.
"""

import struct
from pathlib import Path

from blender_render import gltf_check, obj_files
from blender_render.parameters import AssetParameters
from stage.failures import FailureClass, ObjectFailedError

FILE_TYPES = ("glb", "gltf", "obj", "stl", "ply", "fbx")
_GLTF = {".glb", ".gltf"}
_STL_HEADER = 84
_STL_TRIANGLE = 50
# A PLY header is text; what follows it may be anything.
_PLY_HEADER = 1 << 16


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
    suffix = path.suffix.lower()
    faces = _check_gltf(path, parameters) if suffix in _GLTF else 0
    if suffix == ".obj":
        faces = _check_obj(path)
    elif suffix in {".stl", ".ply"}:
        faces = _stl_faces(path) if suffix == ".stl" else _ply_faces(path)
    if faces > parameters.max_faces:
        raise _oversized(path, f"{faces:,} faces", parameters)


def _check_gltf(path: Path, parameters: AssetParameters) -> int:
    """The faces of a glTF document that may be imported."""
    document = gltf_check.read_document(path)
    gltf_check.check_references(document, path)
    gltf_check.check_tree(document, path.name)
    corners = gltf_check.largest_accessor(document)
    if corners > 3 * parameters.max_faces:
        raise _oversized(path, f"an accessor of {corners:,} elements", parameters)
    return gltf_check.count_faces(document)


def _check_obj(path: Path) -> int:
    data = path.read_bytes()
    if not obj_files.is_finite(data):
        raise ObjectFailedError(FailureClass.DEGENERATE, f"{path.name} has a vertex that is not finite")
    obj_files.material_libraries(path, data)
    return obj_files.count_faces(data)


def _stl_faces(path: Path) -> int:
    """Triangles of a binary STL file, whose size must agree with its count; 0 for a text file."""
    with path.open("rb") as stream:
        header = stream.read(_STL_HEADER)
    if len(header) < _STL_HEADER:
        return 0
    faces: int = struct.unpack_from("<I", header, _STL_HEADER - 4)[0]
    return faces if path.stat().st_size == _STL_HEADER + _STL_TRIANGLE * faces else 0


def _ply_faces(path: Path) -> int:
    """The larger of the numbers of faces and of a third of the vertices that a PLY header claims."""
    with path.open("rb") as stream:
        header = stream.read(_PLY_HEADER).partition(b"end_header")[0]
    counts = {b"face": 0, b"vertex": 0}
    for line in header.splitlines():
        match line.split():
            case [b"element", (b"face" | b"vertex") as name, number] if number.isdigit() and len(number) < 20:
                counts[name] = int(number)
    return max(counts[b"face"], counts[b"vertex"] // 3)


def _oversized(path: Path, size: str, parameters: AssetParameters) -> ObjectFailedError:
    limit = f"over the limit of {parameters.max_faces:,} faces (render.assets.max_faces)"
    return ObjectFailedError(FailureClass.OVERSIZED, f"{path.name} has {size}, {limit}")
