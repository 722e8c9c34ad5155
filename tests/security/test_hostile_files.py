"""Files that lie about themselves: each is refused in one line, soon, and without the memory that it asks for."""

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blender_render.asset_check import FILE_TYPES, check_asset
from blender_render.parameters import AssetParameters
from catalog.http_client import Answer, as_json
from catalog.http_errors import DownloadError
from catalog.uid_lists import read_uid_list
from evaluation.folders.cameras import read_cameras
from evaluation.folders.pictures import decode_picture
from stage.errors import InputError
from stage.failures import ObjectFailedError
from stage.foreign_files import BoundedGzip, parse_json
from systems.zero123.ldm_checkpoint import read_checkpoint
from training.data import index
from training.data.index_rows import TYPES
from training.data.preparation.colmap_files import check_whole
from training.data.zeronvs_cameras import camera_from
from viewing import conversion

DEEP = b"[" * 200_000
pytestmark = pytest.mark.timeout(60)


def deep_gltf(path: Path) -> None:
    target = path / "a.gltf"
    target.write_bytes(DEEP)
    check_asset(target, AssetParameters())


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (lambda _: parse_json(DEEP), ValueError),
        (lambda _: as_json(Answer(DEEP, {}), "https://host/list.json"), DownloadError),
        (lambda _: read_cameras(DEEP, 8, 8), ObjectFailedError),
        (lambda _: camera_from(DEEP, 8, 8), ValueError),
        (deep_gltf, ObjectFailedError),
    ],
    ids=["any", "answer", "cameras", "metadata", "glTF"],
)
def test_json_nested_without_end_is_refused(
    read: Callable[[Path], object], error: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(error, match="nested too deeply") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_more_comes_out_of_a_gzip_file_than_is_believable(tmp_path: Path) -> None:
    path = tmp_path / "list.txt.gz"
    path.write_bytes(gzip.compress(bytes(1 << 22)))
    with BoundedGzip(path, 1 << 20) as stream, pytest.raises(ValueError, match="more than 1,048,576 bytes"):
        stream.read()
    with BoundedGzip(path, 1 << 22) as stream:
        assert stream.read(7) == bytes(7)
        assert len(stream.read()) == (1 << 22) - 7
    with BoundedGzip(path, 1 << 20) as stream, pytest.raises(ValueError, match="bytes come out"):
        io.TextIOWrapper(stream).read()


def test_a_list_that_unpacks_without_end_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.uid_lists.BoundedGzip", partial(BoundedGzip, most=1 << 20))
    path = tmp_path / "list.txt.gz"
    path.write_bytes(gzip.compress(b"a" * (1 << 22)))
    with pytest.raises(InputError, match=r"list\.txt\.gz cannot be read: more than 1,048,576 bytes"):
        read_uid_list(path)


def test_an_index_that_claims_more_objects_than_exist_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = {"string": "x", "int64": 0, "binary": b""}
    columns = {
        name: pa.repeat(pa.scalar([] if pa.types.is_list(kind) else empty[str(kind)], kind), 3000)
        for name, kind in TYPES.items()
    }
    pq.write_table(pa.table(columns), tmp_path / index.INDEX)
    assert len(index.read_rows(tmp_path)) == 3000
    monkeypatch.setattr(index, "_MOST_ROWS", 2999)
    with pytest.raises(InputError, match="is damaged: it claims 3,000 objects, over the limit"):
        index.read_rows(tmp_path)


def npy(shape: tuple[int, ...], data: bytes = b"", descr: str = "|u1") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


def zipped(*members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [npy((100_000, 100_000, 3)), npy((2**62, 2**62, 3)), npy((8, 8, 3), b"cos\nsystem\n(S'true'\ntR.", "|O")],
    ids=["shape", "overflow", "pickle"],
)
def test_an_array_that_lies_is_refused(data: bytes) -> None:
    with pytest.raises(ObjectFailedError, match=r"a\.npy is no array") as error:
        decode_picture("a.npy", data)
    assert "\n" not in str(error.value)


def test_an_archive_of_arrays_larger_than_any_picture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.folders.pictures._MOST_BYTES", 1 << 20)
    picture = np.zeros((8, 8, 3), np.uint8)
    stream = io.BytesIO()
    np.savez_compressed(stream, picture=picture)
    assert decode_picture("a.npz", stream.getvalue()).shape == (8, 8, 3)
    bomb = zipped(("picture.npy", npy((1024, 1024, 3), bytes(3 << 20))))
    assert len(bomb) < 1 << 16
    with pytest.raises(ObjectFailedError, match="it unpacks to 3,145,856 bytes, over the limit"):
        decode_picture("a.npz", bomb)


def safetensors(header: dict[str, object] | int) -> bytes:
    if isinstance(header, int):
        return struct.pack("<Q", header) + b"{}"
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(16)


@pytest.mark.parametrize(
    "content",
    [
        2**60,
        2**63 + 1,
        {"a": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 10**15]}},
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}},
        {
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        },
    ],
    ids=["long header", "negative header", "shape", "end", "backwards", "overlap"],
)
def test_a_safetensors_header_that_lies_is_refused(content: dict[str, object] | int, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors(content))
    with pytest.raises(InputError, match=r"model\.safetensors cannot be read") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".spz", ".sog"])
def test_gaussians_that_unpack_without_end_never_reach_the_converter(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(*_: object, **__: object) -> None:
        raise AssertionError("the converter was started")

    monkeypatch.setattr(conversion, "transform", reached)
    monkeypatch.setattr(conversion, "MOST_INFLATED", 1 << 20)
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(gzip.compress(bytes(1 << 22)) if suffix == ".spz" else zipped(("means.webp", bytes(1 << 22))))
    with pytest.raises(InputError, match="more than 1,048,576 bytes come out of it") as error:
        conversion.read_gaussians(path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cameras", struct.pack("<Q", 2**63)),
        ("images", struct.pack("<Q", 1) + b"\1" * 64 + b"a\0" + struct.pack("<Q", 2**64 - 1)),
        ("points3D", struct.pack("<Q", 1) + bytes(43) + struct.pack("<Q", 2**61)),
        ("rigs", struct.pack("<Q", 1) + struct.pack("<II", 1, 2**32 - 1) + bytes(100)),
        ("frames", struct.pack("<Q", 2**64 - 1) + bytes(100)),
    ],
)
def test_a_reconstruction_that_lies_about_its_counts_is_refused(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / f"{name}.bin").write_bytes(data)
    with pytest.raises(ObjectFailedError, match=f"{name}.bin is damaged"):
        check_whole(tmp_path, lambda _: 4)


@pytest.mark.parametrize("faces", ["9" * 11, str(2**64), "9" * 5000], ids=["many", "64 bits", "5,000 digits"])
def test_a_mesh_that_claims_too_many_faces_is_refused_by_its_header(faces: str, tmp_path: Path) -> None:
    path = tmp_path / "scan.ply"
    axes = "".join(f"property float {axis}\n" for axis in "xyz")
    path.write_text(f"ply\nformat ascii 1.0\nelement vertex {faces}\n{axes}end_header\n0 0 0\n")
    with pytest.raises(ObjectFailedError, match="over the limit of"):
        check_asset(path, AssetParameters())


def test_a_scene_of_blender_which_may_hold_scripts_is_no_asset(tmp_path: Path) -> None:
    """Blender opens none for us; and a copy under another name is refused for what it is."""
    assert "blend" not in FILE_TYPES
    path = tmp_path / "a.glb"
    path.write_bytes(b"BLENDER-v500" + bytes(100))
    with pytest.raises(ObjectFailedError, match="no binary glTF"):
        check_asset(path, AssetParameters())
