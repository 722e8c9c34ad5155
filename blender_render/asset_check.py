"""Checks on an asset file before Blender sees it: Blender accepts some files that it should not.

Without an exception an importer may have read nothing, or followed a reference out of the asset's folder.
"""

import json
import re
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from stage.failures import FailureClass, ObjectFailedError

FILE_TYPES = ("glb", "gltf", "obj", "stl", "ply", "fbx")
_GLB_MAGIC = b"glTF"
_JSON_CHUNK = 0x4E4F534A
# Blender's OBJ importer reads such a coordinate as 0. What follows a # is a comment.
_NOT_FINITE = re.compile(rb"^v\s[^\n#]*\b(nan|inf)", re.MULTILINE | re.IGNORECASE)


def check_asset(path: Path) -> None:
    """Refuse a file that cannot be an asset or that refers to files outside its own folder.

    Raises:
        ObjectFailedError: missing, empty, parse or unsafe.
    """
    if not path.is_file():
        raise ObjectFailedError(FailureClass.MISSING, f"no file {path}")
    if path.stat().st_size == 0:
        raise ObjectFailedError(FailureClass.PARSE, f"{path.name} has no bytes")
    if path.suffix.lower() in {".glb", ".gltf"}:
        for uri in _uris(_gltf_json(path)):
            _check_uri(uri, path)
    if path.suffix.lower() == ".obj" and _NOT_FINITE.search(path.read_bytes()):
        raise ObjectFailedError(FailureClass.DEGENERATE, f"{path.name} has a vertex that is not finite")


def _gltf_json(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    if path.suffix.lower() == ".glb":
        data = _glb_json_chunk(data, path.name)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
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


def _uris(document: dict[str, Any]) -> list[str]:
    lists = [document.get(key) for key in ("buffers", "images")]
    items = [item for entries in lists if isinstance(entries, list) for item in entries]
    return [item["uri"] for item in items if isinstance(item, dict) and isinstance(item.get("uri"), str)]


def _check_uri(uri: str, asset: Path) -> None:
    """Data URIs are fine; anything else must be a relative path that stays below the asset's folder."""
    if uri.startswith("data:"):
        return
    try:
        target = (asset.parent / unquote(uri)).resolve()
        elsewhere = bool(urlparse(uri).scheme) or not target.is_relative_to(asset.parent.resolve())
    except ValueError as error:
        raise ObjectFailedError(FailureClass.PARSE, f"{asset.name} refers to {uri!r}: {error}") from None
    if elsewhere:
        raise ObjectFailedError(FailureClass.UNSAFE, f"{asset.name} refers to {uri!r}, outside its folder")
