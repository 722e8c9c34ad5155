"""Checks before Blender: a file that is no asset, or reaches out of its folder, is refused with the right class."""

import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gltf_support import CORNERS, gltf
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from render_support import glb, tetrahedron

from blender_render.asset_check import check_asset
from blender_render.parameters import AssetParameters
from blender_render.references import target_below
from stage.failures import FailureClass, ObjectFailedError

SOUND = b'{"asset":{"version":"2.0"}}'


def verdict(folder: Path, name: str, data: bytes) -> FailureClass | None:
    (folder / name).write_bytes(data)
    found = failure(folder / name)
    if found is None:
        return None
    assert "\n" not in str(found)
    assert name in str(found)
    return found.failure


def failure(path: Path, parameters: AssetParameters | None = None) -> ObjectFailedError | None:
    try:
        check_asset(path, parameters or AssetParameters())
    except ObjectFailedError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.glb", b""),
        ("a.obj", b""),
        ("a.glb", b"<!DOCTYPE html><title>404 Not Found</title>"),
        ("a.gltf", b"<!DOCTYPE html>"),
        ("a.glb", b"glTF"),
        ("a.glb", glb(SOUND)[:-4]),
        ("a.glb", glb(SOUND) + b"more"),
        ("a.glb", glb(SOUND).replace(b"JSON", b"BIN\0")),
        ("a.glb", glb(b"{")),
        ("a.glb", glb(b"[1, 2]")),
        ("a.gltf", b"\xff\xfe\xfa"),
        ("a.gltf", b"[" * 100_000),
        ("a.gltf", b'{"a":' + b"1" * 5000 + b"}"),
    ],
)
def test_what_cannot_be_read_is_a_parse_failure(name: str, data: bytes, tmp_path: Path) -> None:
    assert verdict(tmp_path, name, data) is FailureClass.PARSE


def test_a_file_that_is_gone_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ObjectFailedError, match="no file") as caught:
        check_asset(tmp_path / "a.glb", AssetParameters())
    assert caught.value.failure is FailureClass.MISSING


def with_uri(uri: str, key: str = "images") -> bytes:
    return json.dumps({"asset": {"version": "2.0"}, key: [{"uri": uri}]}).encode()


OUTSIDE = [
    "../texture.png",
    "sub/../../texture.png",
    "/etc/hostname",
    "%2e%2e/texture.png",
    "..%2Ftexture.png",
    "file:///etc/hostname",
    "http://example.com/texture.png",
    "https://example.com/a.bin",
]


@pytest.mark.parametrize("key", ["images", "buffers"])
@pytest.mark.parametrize("uri", OUTSIDE)
def test_a_reference_out_of_the_folder_is_unsafe(uri: str, key: str, tmp_path: Path) -> None:
    assert verdict(tmp_path, "a.gltf", with_uri(uri, key)) is FailureClass.UNSAFE
    assert verdict(tmp_path, "a.glb", glb(with_uri(uri, key))) is FailureClass.UNSAFE


def test_a_link_out_of_the_folder_is_unsafe(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "texture.png").symlink_to("/etc/hostname")
    assert verdict(tmp_path / "objects", "a.gltf", with_uri("texture.png")) is FailureClass.UNSAFE


@pytest.mark.parametrize("uri", ["texture.png", "sub/a%20b.png", "sub/../texture.png", "data:image/png;base64,AAAA"])
def test_a_reference_inside_the_folder_is_fine(uri: str, tmp_path: Path) -> None:
    assert verdict(tmp_path, "a.gltf", with_uri(uri)) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["uri", "images", "x"]), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=st.dictionaries(st.sampled_from(["images", "buffers", "scene"]), json_values))
@example(document={"buffers": 5})
@example(document={"images": [{"uri": "a\0b"}]})
@example(document={"images": [{"uri": "http://[x"}]})
@example(document={"images": [{"uri": "x" * 5000}]})
@example(document={"images": [{"uri": "\ud800"}]})
def test_any_json_is_accepted_or_refused_and_never_an_error_of_ours(document: dict[str, Any], tmp_path: Path) -> None:
    verdict(tmp_path, "a.gltf", json.dumps(document).encode())


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=64), name=st.sampled_from(["a.glb", "a.gltf", "a.obj", "a.stl"]))
def test_any_bytes_are_accepted_or_refused(data: bytes, name: str, tmp_path: Path) -> None:
    assert verdict(tmp_path, name, data) in {None, FailureClass.PARSE, FailureClass.DEGENERATE}


@pytest.mark.parametrize("number", ["nan", "-NaN", "inf", "-Infinity"])
def test_a_vertex_that_is_not_finite_is_degenerate(number: str, tmp_path: Path) -> None:
    """Blender's importer reads it as 0."""
    data = tetrahedron().replace("v 0 1 0", f"v 0 {number} 0").encode()
    assert verdict(tmp_path, "a.obj", data) is FailureClass.DEGENERATE


@pytest.mark.parametrize(
    "harmless", ["# nan\n", "v 0 0 0 # information\n", "g infinite\n", "usemtl nan\n", "vt 0 0\n"]
)
def test_words_that_only_look_like_numbers_are_fine(harmless: str, tmp_path: Path) -> None:
    assert verdict(tmp_path, "a.obj", tetrahedron(harmless).encode()) is None


BAD = {
    "missing_buffer.gltf": None,
    "empty.obj": None,
    "empty_nodes.glb": None,
    "index_out_of_range.obj": None,
    "zero_extent.obj": None,
    "nan_vertices.obj": FailureClass.DEGENERATE,
    "not_a_glb.glb": FailureClass.PARSE,
    "random_bytes.glb": FailureClass.PARSE,
    "truncated.glb": FailureClass.PARSE,
    "uri_outside_folder.gltf": FailureClass.UNSAFE,
    "zero_bytes.glb": FailureClass.PARSE,
}


def test_every_broken_asset_is_known_here(shared_assets: Path) -> None:
    assert sorted(BAD) == sorted(path.name for path in (shared_assets / "bad").iterdir())


@pytest.mark.parametrize("name", sorted(BAD))
def test_broken_assets_are_refused_or_left_to_the_importer(name: str, shared_assets: Path) -> None:
    """Where nothing is expected the importer finds out: see `test_render_appearance.py`."""
    found = failure(shared_assets / "bad" / name)
    assert (found and found.failure) is BAD[name]


def test_real_assets_pass(shared_assets: Path) -> None:
    for path in [*(shared_assets / "objects").rglob("*.glb"), *shared_assets.rglob("model.obj")]:
        check_asset(path, AssetParameters())


def oversized(path: Path, limit: int) -> bool:
    found = failure(path, AssetParameters(max_faces=limit))
    return found is not None and found.failure is FailureClass.OVERSIZED


def test_faces_are_counted_from_the_file_alone(tmp_path: Path) -> None:
    """A tetrahedron's four faces, in each format that says how many it has."""
    triangle = np.zeros(1, [("values", "<f4", 12), ("attributes", "<u2")]).tobytes()
    files = {
        "a.obj": tetrahedron().encode(),
        "a.stl": b"\0" * 80 + struct.pack("<I", 4) + 4 * triangle,
        "a.ply": b"ply\nformat ascii 1.0\nelement vertex 4\nelement face 4\nend_header\n",
        "a.gltf": gltf(),
        "strip.gltf": gltf(np.zeros((6, 3)), {"mode": 5}),
        "two nodes.gltf": gltf(CORNERS[:6], nodes=[{"mesh": 0}, {"mesh": 0}]),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        assert not oversized(tmp_path / name, 4), name
        assert oversized(tmp_path / name, 3), name


@settings(deadline=None, max_examples=200)
@given(parts=st.lists(st.sampled_from(["..", ".", "a", "%2e%2e", "\\", "/", "//", "C:", "\\..", "sub"]), max_size=6))
def test_no_reference_leads_out_of_the_folder(parts: list[str]) -> None:
    folder = Path(tempfile.gettempdir()).resolve() / "nowhere" / "asset"
    target = target_below(folder, "".join(parts))
    assert target is None or target == folder or folder in target.parents


def test_a_path_that_leaves_and_comes_back_is_refused_too(tmp_path: Path) -> None:
    """Its way leads through a folder of somebody else's."""
    assert target_below(tmp_path, f"../{tmp_path.name}/a.png") is None
