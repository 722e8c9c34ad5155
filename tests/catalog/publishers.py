"""The layouts of Objaverse, Objaverse-XL, GitHub and Fuel, served from small files made here."""

import gzip
import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from fault_server import FaultServer

from catalog.parameters import CatalogParameters

HUB_PATH = "/datasets/allenai/objaverse/resolve/main"
FUEL_PATH = "/1.0/GoogleResearch/models"
XL_PATH = "/datasets/allenai/objaverse-xl/resolve/main"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tetrahedron(number: int) -> tuple[bytes, dict[str, Any]]:
    """Vertices and a glTF document without the buffer's address; the number changes the shape."""
    points = [(0.0, 0.0, 0.0), (1.0 + number, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    corners = [0, 2, 1, 0, 1, 3, 0, 3, 2, 1, 2, 3]
    data = b"".join(struct.pack("<3f", *point) for point in points) + struct.pack("<12H", *corners)
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 4,
                "type": "VEC3",
                "min": [0.0, 0.0, 0.0],
                "max": [1.0 + number, 1.0, 1.0],
            },
            {"bufferView": 1, "componentType": 5123, "count": 12, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": 48},
            {"buffer": 0, "byteOffset": 48, "byteLength": 24},
        ],
        "buffers": [{"byteLength": 72}],
    }
    return data, document


def glb(number: int, padding: int = 0) -> bytes:
    """A binary glTF file of one tetrahedron, made longer by some bytes."""
    data, document = tetrahedron(number)
    text = json.dumps({**document, "extras": {"padding": "x" * padding}}).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
    return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks


def uid(number: int) -> str:
    """A uid as Sketchfab gives them."""
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def parquet(rows: Iterable[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


def gzipped(value: Any) -> bytes:
    return gzip.compress(json.dumps(value).encode(), mtime=0)


@dataclass
class Model:
    """An object of Objaverse 1.0."""

    number: int
    data: bytes
    licence: str = "by"
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def uid(self) -> str:
        """What it is called."""
        return uid(self.number)

    @property
    def folder(self) -> str:
        """Its folder, of four objects each."""
        return f"000-{self.number // 4:03d}"

    @property
    def path(self) -> str:
        """Where the server has its file."""
        return f"{HUB_PATH}/glbs/{self.folder}/{self.uid}.glb"

    def annotation(self) -> dict[str, Any]:
        """What the metadata says of it."""
        return {
            "uid": self.uid,
            "name": f"Object {self.number}",
            "license": self.licence,
            "viewerUrl": f"https://sketchfab.com/3d-models/{self.uid}",
            "user": {"username": "maker", "displayName": "A Maker"},
            "tags": [{"name": "small", "slug": "small"}],
            "faceCount": 4,
            "archives": {"glb": {"size": len(self.data), "faceCount": 4}},
            **self.said,
        }


def models(count: int, **values: Any) -> list[Model]:
    return [Model(number, glb(number), **values) for number in range(count)]


def serve_objaverse(server: FaultServer, objects: list[Model], lvis: dict[str, list[str]] | None = None) -> None:
    """Serve objects with all index files."""
    serve_index(server, "object-paths.json.gz", {m.uid: m.path.removeprefix(f"{HUB_PATH}/") for m in objects})
    serve_index(server, "lvis-annotations.json.gz", lvis or {})
    for folder in {model.folder for model in objects}:
        said = {model.uid: model.annotation() for model in objects if model.folder == folder}
        serve_index(server, f"metadata/{folder}.json.gz", said)
    for model in objects:
        server.serve(model.path, model.data)
    sums = [_sketchfab_row(model) for model in objects]
    server.serve(f"{XL_PATH}/sketchfab/sketchfab.parquet", parquet(sums))


def serve_index(server: FaultServer, name: str, value: Any) -> str:
    return server.serve(f"{HUB_PATH}/{name}", gzipped(value))


def _sketchfab_row(model: Model) -> dict[str, Any]:
    return xl_row(f"https://sketchfab.com/3d-models/{model.uid}", model.data, "glb", source="sketchfab")


def xl_row(identifier: str, data: bytes, file_type: str, **values: Any) -> dict[str, Any]:
    """A row of Objaverse-XL's tables."""
    row = {"fileIdentifier": identifier, "source": "github", "license": "MIT", "fileType": file_type}
    return {**row, "sha256": sha256(data), "metadata": "{}", **values}


def page(path: str, commit: str = COMMIT) -> str:
    """What Objaverse-XL calls a file of a repository."""
    return f"https://github.com/owner/repo/blob/{commit}/{path}"


def raw(path: str) -> str:
    """Where the server has a file of the repository."""
    return f"/raw/owner/repo/{COMMIT}/{path}"


def large(path: str) -> str:
    """Where the server has the content of a file under Git LFS."""
    return f"/media/owner/repo/{COMMIT}/{path}"


def pointer(data: bytes) -> bytes:
    """A Git LFS pointer."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(data)}\nsize {len(data)}\n".encode()


def serve_xl(server: FaultServer, **tables: list[dict[str, Any]]) -> None:
    for origin in ("github", "thingiverse", "smithsonian"):
        rows = tables.get(origin) or [xl_row(f"https://{origin}.example/{origin}.stl", b"", "stl")]
        server.serve(f"{XL_PATH}/{origin}/{origin}.parquet", parquet(rows))


def serve_page(server: FaultServer, number: int, names: list[str], **headers: str) -> None:
    models = [{"name": name, "owner": "GoogleResearch"} for name in names]
    server.serve(f"{FUEL_PATH}?page={number}&per_page=2", json.dumps(models).encode(), **headers)


def model_zip(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("meshes/model.obj", f"# {name}\nv 0 0 0\n")
        archive.writestr("materials/textures/texture.png", b"png " + name.encode())
        archive.writestr("metadata.pbtxt", f'name: "{name}"\ncategories {{\n  first: "Cups"\n}}\n')
    return buffer.getvalue()


def serve_model(server: FaultServer, name: str, data: bytes | None = None) -> str:
    return server.serve(f"{FUEL_PATH}/{quote(name)}.zip", model_zip(name) if data is None else data)


def section(server: FaultServer, source: str = "objaverse", **values: Any) -> dict[str, Any]:
    """The catalogue's parameters for this server; waits are short."""
    download = {
        "hf_endpoint": server.url(""),
        "mirrors": {
            "https://raw.githubusercontent.com": server.url("/raw"),
            "https://media.githubusercontent.com/media": server.url("/media"),
        },
        "workers": 2,
        "attempts": 4,
        "first_wait_seconds": 0.0,
        "read_timeout_seconds": 5.0,
        **values.pop("download", {}),
    }
    return {"source": source, "download": download, **values}


def parameters(server: FaultServer, source: str = "objaverse", **values: Any) -> CatalogParameters:
    return CatalogParameters.model_validate(section(server, source, **values))
