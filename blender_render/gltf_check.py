"""Checks on a glTF document before Blender sees it: what it refers to, whether its nodes form trees, how many faces it draws.

The document is anybody's JSON: any value may have any type.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blender_render.references import target_below
from stage.failures import FailureClass, ObjectFailedError
from stage.foreign_files import parse_json

_GLB_MAGIC = b"glTF"
_JSON_CHUNK = 0x4E4F534A
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_INSTANCING = "EXT_mesh_gpu_instancing"


def read_document(path: Path) -> dict[str, Any]:
    """The JSON of a .gltf or .glb file.

    Raises:
        ObjectFailedError: parse.
    """
    data = path.read_bytes()
    if path.suffix.lower() == ".glb":
        data = _glb_json_chunk(data, path.name)
    try:
        document = parse_json(data)
    except ValueError as error:
        raise ObjectFailedError(FailureClass.PARSE, f"{path.name} holds no glTF JSON: {error}") from None
    if not isinstance(document, dict):
        raise ObjectFailedError(FailureClass.PARSE, f"{path.name} holds no glTF object")
    return document


def _glb_json_chunk(data: bytes, name: str) -> bytes:
    """The JSON chunk of a binary glTF (Khronos glTF 2.0, section 4.4: header of 12 bytes, then chunks)."""
    if len(data) < 20 or data[:4] != _GLB_MAGIC:
        raise ObjectFailedError(FailureClass.PARSE, f"{name} is no binary glTF")
    _, length, chunk_length, chunk_type = struct.unpack_from("<IIII", data, 4)
    if length != len(data):
        raise ObjectFailedError(FailureClass.PARSE, f"{name} is truncated: {len(data)} of {length} bytes")
    if chunk_type != _JSON_CHUNK or 20 + chunk_length > len(data):
        raise ObjectFailedError(FailureClass.PARSE, f"{name} has no JSON chunk")
    return data[20 : 20 + chunk_length]


def check_references(document: dict[str, Any], path: Path) -> None:
    """Refuse a buffer or image that is neither data nor a file below the asset's folder.

    Raises:
        ObjectFailedError: unsafe.
    """
    for item in [*_objects(document, "buffers"), *_objects(document, "images")]:
        uri = item.get("uri")
        if not isinstance(uri, str) or _is_data(uri):
            continue
        if target_below(path.parent, uri) is None:
            shown = repr(uri if len(uri) <= 100 else f"{uri[:100]}…")
            raise ObjectFailedError(FailureClass.UNSAFE, f"{path.name} refers to {shown}, outside its folder")


def _is_data(uri: str) -> bool:
    """Blender reads a data URI that is not base64 as a path."""
    return uri.startswith("data:") and ";base64," in uri


def check_tree(document: dict[str, Any], name: str) -> None:
    """Refuse nodes that are children of themselves or of two parents (Khronos glTF 2.0, section 3.5.2: strict trees).

    Raises:
        ObjectFailedError: parse.
    """
    nodes = _objects(document, "nodes")
    parents: dict[int, int] = {}
    for number, node in enumerate(nodes):
        for child in _indices(node, "children", len(nodes)):
            if parents.setdefault(child, number) != number:
                raise ObjectFailedError(FailureClass.PARSE, f"{name}: node {child} has two parents")
    settled: set[int] = set()
    for start in parents:
        trail = _ancestry(start, parents, settled)
        if trail is None:
            raise ObjectFailedError(FailureClass.PARSE, f"{name}: node {start} is its own ancestor")
        settled.update(trail)


def _ancestry(start: int, parents: dict[int, int], settled: set[int]) -> list[int] | None:
    """The nodes from `start` up to a root or a settled one; None when they go round."""
    trail, seen, number = [start], {start}, start
    while (number := parents.get(number, -1)) >= 0 and number not in settled:
        if number in seen:
            return None
        trail.append(number)
        seen.add(number)
    return trail


def count_faces(document: dict[str, Any]) -> int:
    """Triangles that all nodes together draw, from the accessors' counts; instances count each time."""
    counts = _accessor_counts(document)
    meshes = [_mesh_faces(mesh, counts) for mesh in _objects(document, "meshes")]
    total = 0
    for node in _objects(document, "nodes"):
        mesh = node.get("mesh")
        if isinstance(mesh, int) and 0 <= mesh < len(meshes):
            total += meshes[mesh] * _instances(node, counts)
    return max(total, sum(meshes))


def largest_accessor(document: dict[str, Any]) -> int:
    """The most elements that any accessor claims; one without a buffer takes memory all the same."""
    return max(_accessor_counts(document), default=0)


def _mesh_faces(mesh: dict[str, Any], counts: list[int]) -> int:
    total = 0
    for primitive in _objects(mesh, "primitives"):
        attributes = primitive.get("attributes")
        position = attributes.get("POSITION") if isinstance(attributes, dict) else None
        corners = _count_of(primitive.get("indices", position), counts)
        mode = primitive.get("mode", _TRIANGLES)
        total += corners // 3 if mode == _TRIANGLES else max(0, corners - 2) if mode in {_STRIP, _FAN} else 0
    return total


def _instances(node: dict[str, Any], counts: list[int]) -> int:
    extensions = node.get("extensions")
    instancing = extensions.get(_INSTANCING) if isinstance(extensions, dict) else None
    attributes = instancing.get("attributes") if isinstance(instancing, dict) else None
    if not isinstance(attributes, dict):
        return 1
    return max((_count_of(number, counts) for number in attributes.values()), default=1)


def _accessor_counts(document: dict[str, Any]) -> list[int]:
    return [_whole(accessor.get("count")) for accessor in _objects(document, "accessors")]


def _count_of(accessor: object, counts: list[int]) -> int:
    return counts[accessor] if isinstance(accessor, int) and 0 <= accessor < len(counts) else 0


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _objects(holder: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of objects; what is none keeps its place, so that indices stay right."""
    entries = holder.get(key)
    return [item if isinstance(item, dict) else {} for item in entries] if isinstance(entries, list) else []


def _indices(holder: dict[str, Any], key: str, count: int) -> Iterator[int]:
    entries = holder.get(key)
    for item in entries if isinstance(entries, list) else []:
        if isinstance(item, int) and 0 <= item < count:
            yield item
