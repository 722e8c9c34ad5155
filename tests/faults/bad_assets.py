"""Files that must be refused, each for its own reason, and the class of failure that each is."""

import json
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype="<f4")[[0, 2, 1, 0, 1, 3, 1, 2, 3, 0, 3, 2]]
OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n"
_DRACO, _INSTANCING = "KHR_draco_mesh_compression", "EXT_mesh_gpu_instancing"
_PLY = (
    "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\nelement face {faces}\n"
    "property list uchar int vertex_indices\nend_header\n0 0 0\n{x} 0 0\n0 1 0\n3 0 1 2\n"
)


def glb(corners: np.ndarray = CORNERS, primitive: dict[str, Any] | None = None, **changed: Any) -> bytes:
    """A binary glTF of one node that draws triangles; `changed` replaces or adds top-level values."""
    data = np.asarray(corners, dtype="<f4").tobytes()
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, **(primitive or {})}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": len(corners), "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": len(data)}],
        "buffers": [{"byteLength": len(data)}],
        **changed,
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def with_corner(value: float) -> np.ndarray:
    """The tetrahedron with one coordinate changed."""
    corners = CORNERS.copy()
    corners[1, 1] = value
    return corners


def picture_bomb(side: int = 30_000) -> bytes:
    """A PNG of a few bytes whose header claims `side` × `side` pixels."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 1000)),
        (b"IEND", b""),
    ]
    parts = [struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def textured(uri: str) -> dict[str, Any]:
    """The values of a document whose material has a texture from a file."""
    material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    return {
        "materials": [material],
        "textures": [{"source": 0}],
        "images": [{"uri": uri}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "material": 0}]}],
    }


def _stl(value: float) -> bytes:
    corners = with_corner(value).reshape(-1, 9)
    return b"\0" * 80 + struct.pack("<I", 4) + b"".join(struct.pack("<12fH", 0, 0, 0, *t, 0) for t in corners)


def _draco() -> dict[str, Any]:
    accessors = [
        {"componentType": 5126, "count": 12, "type": "VEC3"},
        {"componentType": 5125, "count": 12, "type": "SCALAR"},
    ]
    return {"accessors": accessors, "extensionsRequired": [_DRACO], "extensionsUsed": [_DRACO]}


def _faces_by_nodes(count: int) -> dict[str, Any]:
    """Sixty nodes that share a mesh of a million triangles, of which the file holds none."""
    accessors = [{"componentType": 5126, "count": 3 * count // 60, "type": "VEC3"}]
    return {"accessors": accessors, "nodes": [{"mesh": 0} for _ in range(60)], "scenes": [{"nodes": list(range(60))}]}


def _faces_by_instances(count: int) -> dict[str, Any]:
    plain = {"bufferView": 0, "componentType": 5126, "count": 12, "type": "VEC3"}
    many = {"componentType": 5126, "count": count // 4, "type": "VEC3"}
    node = {"mesh": 0, "extensions": {_INSTANCING: {"attributes": {"TRANSLATION": 1}}}}
    return {"accessors": [plain, many], "nodes": [node], "extensionsUsed": [_INSTANCING]}


def bad_assets(address: str, outside: Path) -> dict[str, tuple[bytes, str]]:
    """Contents and class of failure by file name.

    Args:
        address: of a server that nobody may ask.
        outside: a folder that nobody may read; it lies one above the assets.
    """
    page = b"<!DOCTYPE html><html><title>404 %s</title></html>"
    loop = [{"mesh": 0, "children": [1]}, {"children": [2]}, {"children": [1]}]
    shared = [{"children": [1, 2]}, {"children": [3]}, {"children": [3]}, {"mesh": 0}]
    files: dict[str, tuple[bytes, str]] = {
        "truncated.glb": (glb()[:-20], "parse"),
        "no bytes.glb": (b"", "parse"),
        "unknown extension.glb": (glb(extensionsRequired=["X_y"], extensionsUsed=["X_y"]), "parse"),
        "malformed draco.glb": (
            glb(
                primitive={"indices": 1, "extensions": {_DRACO: {"bufferView": 0, "attributes": {"POSITION": 0}}}},
                **_draco(),
            ),
            "parse",
        ),
        "node cycle.glb": (glb(nodes=loop), "parse"),
        "two parents.glb": (glb(nodes=shared), "parse"),
        "too deep.glb": (glb(nodes=[*({"children": [n + 1]} for n in range(3000)), {"mesh": 0}]), "parse"),
        "no such accessor.glb": (glb(primitive={"attributes": {"POSITION": 7}}), "parse"),
        "scaled.glb": (glb(nodes=[{"mesh": 0, "scale": [1e12, 1, 1]}]), "degenerate"),
        "far corner.glb": (glb(with_corner(1e12)), "degenerate"),
        "far corner.obj": (OBJ.replace("v 1 0 0", "v 1e12 0 0").encode(), "degenerate"),
        "one place.obj": (b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "degenerate"),
        "one place.glb": (glb(np.ones((12, 3))), "empty"),
        "empty scene.glb": (glb(scenes=[{"nodes": []}]), "empty"),
        "points.glb": (glb(primitive={"mode": 0}), "empty"),
        "lines.glb": (glb(primitive={"mode": 1}), "empty"),
        "no faces.obj": (b"v 0 0 0\nv 1 0 0\nl 1 2\n", "empty"),
        "faces by nodes.glb": (glb(**_faces_by_nodes(50_000_000)), "oversized"),
        "faces by instances.glb": (glb(**_faces_by_instances(50_000_000)), "oversized"),
        "faces in a header.ply": (_PLY.format(faces=50_000_000, x=1).encode(), "oversized"),
        "points without data.glb": (
            glb(primitive={"mode": 0}, accessors=[{"componentType": 5126, "count": 10**9, "type": "VEC3"}]),
            "oversized",
        ),
        "huge texture.glb": (glb(**textured("huge.png")), "oversized"),
        "huge texture.obj": (f"mtllib huge.mtl\nusemtl m\n{OBJ}".encode(), "oversized"),
        "library upwards.obj": (f"mtllib ../{outside.name}/secret.mtl\n{OBJ}".encode(), "unsafe"),
        "library absolute.obj": (f"mtllib {outside}/secret.mtl\n{OBJ}".encode(), "unsafe"),
        "library linked.obj": (f"mtllib linked.mtl\n{OBJ}".encode(), "unsafe"),
    }
    for suffix in ("glb", "gltf", "stl", "ply", "fbx"):
        files[f"error page.{suffix}"] = page % suffix.encode(), "parse"
    files["error page.obj"] = page % b"obj", "empty"
    for value in (math.nan, math.inf):
        files[f"{value}.glb"] = glb(with_corner(value)), "degenerate"
        files[f"{value}.stl"] = _stl(value), "degenerate"
        files[f"{value}.ply"] = _PLY.format(faces=1, x=value).encode(), "degenerate"
        files[f"{value}.obj"] = OBJ.replace("v 1 0 0", f"v {value} 0 0").encode(), "degenerate"
    references = {
        "address": f"{address}/secret.png",
        "upwards": f"../{outside.name}/secret.png",
        "backwards": f"..\\{outside.name}\\secret.png",
        "encoded": f"%2e%2e/{outside.name}/secret.png",
        "absolute": f"{outside}/secret.png",
        "file": f"file://{outside}/secret.png",
        "share": "\\\\server\\share\\secret.png",
        "link": "linked.png",
        "plain data": f"data:/../../{outside.name}/secret.png",
    }
    for name, uri in references.items():
        files[f"image, {name}.glb"] = glb(**textured(uri)), "unsafe"
        files[f"buffer, {name}.glb"] = glb(buffers=[{"byteLength": 144, "uri": uri}]), "unsafe"
    return files


def good_assets(address: str, outside: Path) -> dict[str, bytes]:
    """Contents by file name of assets that can be used; some refer to what they may not have."""
    ply = _PLY.format(faces=1, x=1).replace(
        "element vertex", f"comment TextureFile {address}/secret.png\nelement vertex"
    )
    return {
        "good.glb": glb(),
        "good.obj": OBJ.encode(),
        "texture by address.obj": f"mtllib address.mtl\nusemtl m\n{OBJ}".encode(),
        "texture by path.obj": f"mtllib path.mtl\nusemtl m\n# {outside}\n{OBJ}".encode(),
        "texture by address.ply": ply.encode(),
    }


def write_all(folder: Path, address: str, outside: Path) -> None:
    """Write good and bad assets and what they refer to into a folder."""
    folder.mkdir(parents=True)
    for name, (data, _) in bad_assets(address, outside).items():
        (folder / name).write_bytes(data)
    for name, data in good_assets(address, outside).items():
        (folder / name).write_bytes(data)
    (folder / "huge.png").write_bytes(picture_bomb())
    (folder / "huge.mtl").write_text("newmtl m\nmap_Kd huge.png\n")
    (folder / "address.mtl").write_text(f"newmtl m\nmap_Kd {address}/secret.png\n")
    (folder / "path.mtl").write_text(
        f"newmtl m\nmap_Kd {outside}/secret.png\nbump -bm 1 ../{outside.name}/secret.png\n"
    )
    (folder / "linked.png").symlink_to(outside / "secret.png")
    (folder / "linked.mtl").symlink_to(outside / "secret.mtl")
