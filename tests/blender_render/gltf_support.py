"""glTF documents written by hand, a value at a time."""

import base64
import json
from typing import Any

import numpy as np

# The four faces of a tetrahedron, three corners each.
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype="<f4")[[0, 2, 1, 0, 1, 3, 1, 2, 3, 0, 3, 2]]


def data_uri(data: bytes) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(data).decode()


def document(corners: np.ndarray = CORNERS, primitive: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """A document of one node that draws triangles; `changed` replaces or adds top-level values."""
    data = np.asarray(corners, dtype="<f4").tobytes()
    return {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, **(primitive or {})}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": len(corners), "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": len(data)}],
        "buffers": [{"byteLength": len(data), "uri": data_uri(data)}],
        **changed,
    }


def gltf(*arguments: Any, **changed: Any) -> bytes:
    """The bytes of a .gltf file; arguments as of `document`."""
    return json.dumps(document(*arguments, **changed)).encode()


def requiring(extension: str) -> dict[str, Any]:
    """The values of a document that requires an extension."""
    return {"extensionsRequired": [extension], "extensionsUsed": [extension]}
