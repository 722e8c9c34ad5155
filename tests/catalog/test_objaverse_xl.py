"""Objaverse-XL: all four origins as rows, and files of GitHub with what they refer to."""

import json
from typing import Any

import pytest
from fault_server import FaultServer, instead, reset_after, status
from publishers import (
    COMMIT,
    XL_PATH,
    glb,
    large,
    models,
    page,
    parameters,
    pointer,
    raw,
    serve_objaverse,
    serve_xl,
    sha256,
    tetrahedron,
    uid,
    xl_row,
)

from catalog.build import build_catalog
from catalog.folder import uid_of
from catalog.table import Asset
from stage.workspace import Workspace


def built(server: FaultServer, workspace: Workspace, **values: Any) -> dict[str, Asset]:
    """Rows by title."""
    assets = build_catalog(parameters(server, "objaverse_xl", **values), 0, workspace)
    return {asset.title: asset for asset in assets}


def github(server: FaultServer, files: dict[str, bytes], **others: bytes) -> None:
    """Serve a repository; `files` are objects of the table, `others` lie beside them."""
    rows = [xl_row(page(path), data, path.rpartition(".")[2]) for path, data in files.items()]
    serve_xl(server, github=rows)
    for path, data in {**files, **others}.items():
        server.serve(raw(path), data)


GITHUB = {"objaverse_xl": {"origins": ["github"]}}


def test_all_four_origins_are_rows(server: FaultServer, workspace: Workspace) -> None:
    serve_objaverse(server, models(2))
    github(server, {"a/cup.glb": glb(9)})
    rows = built(server, workspace)
    assert {title: row.reason for title, row in rows.items()} == {
        "Object 0": "",
        "Object 1": "",
        "cup.glb": "",
        "thingiverse.stl": "objects of thingiverse cannot be downloaded by viewforge",
        "smithsonian.stl": "objects of smithsonian cannot be downloaded by viewforge",
    }
    assert {row.source for row in rows.values()} == {"objaverse_xl"}
    sketchfab = rows["Object 0"]
    assert (sketchfab.uid, sketchfab.author, sketchfab.licence) == (uid(0), "A Maker", "by")


def test_a_file_of_github_is_a_row(server: FaultServer, workspace: Workspace) -> None:
    github(server, {"some models/tea cup#1.glb": glb(3)})
    server.serve(f"/raw/owner/repo/{COMMIT}/some%20models/tea%20cup%231.glb", glb(3))
    (row,) = built(server, workspace, **GITHUB).values()
    assert row.uid == uid_of(page("some models/tea cup#1.glb"))
    assert row.url == f"https://raw.githubusercontent.com/owner/repo/{COMMIT}/some%20models/tea%20cup%231.glb"
    assert row.page == f"https://github.com/owner/repo/blob/{COMMIT}/some%20models/tea%20cup%231.glb"
    assert (row.author, row.licence, row.title) == ("owner", "MIT", "tea cup#1.glb")
    assert (row.sha256, row.location(workspace).read_bytes()) == (sha256(glb(3)), glb(3))


def test_what_cannot_be_imported_or_found_is_left_out(server: FaultServer, workspace: Workspace) -> None:
    rows = [
        xl_row(page("scene.blend"), b"", "blend"),
        xl_row(page("scene.usdz"), b"", ".USDZ"),
        xl_row("https://gitlab.com/owner/repo/blob/main/x.glb", b"", "glb"),
        xl_row(page("y.glb", commit="main"), b"", "glb"),
        xl_row("", b"", "glb"),
        xl_row(page("none.glb"), b"gone", "glb", license=None),
    ]
    serve_xl(server, github=rows)
    found = built(server, workspace, max_failure_rate=1.0, **GITHUB)
    unknown = "its identifier is no file of a GitHub repository at a commit"
    assert {title: row.reason for title, row in found.items()} == {
        "scene.blend": "files of type blend cannot be imported",
        "scene.usdz": "files of type usdz cannot be imported",
        "x.glb": unknown,
        "y.glb": unknown,
        uid_of(""): unknown,
        "none.glb": "download: missing",
    }
    assert found["none.glb"].licence == "unknown"


def test_large_files_are_fetched_from_where_they_are(server: FaultServer, workspace: Workspace) -> None:
    github(server, {"big.glb": glb(1), "changed.glb": glb(2)})
    server.serve(raw("big.glb"), pointer(glb(1)))
    server.serve(large("big.glb"), glb(1))
    server.fail(large("big.glb"), reset_after(100))
    server.serve(raw("changed.glb"), pointer(glb(3)))
    rows = built(server, workspace, max_failure_rate=0.5, **GITHUB)
    assert rows["big.glb"].location(workspace).read_bytes() == glb(1)
    assert "raw.githubusercontent.com" in rows["big.glb"].url
    assert rows["changed.glb"].reason == "download: checksum", "a pointer to other bytes is other bytes"
    assert server.asked(large("changed.glb")) == []


def gltf(uri: str, image: str = "") -> bytes:
    document = tetrahedron(0)[1]
    document["buffers"][0]["uri"] = uri
    if image:
        document["images"] = [{"uri": image}]
    return json.dumps(document).encode()


def test_a_gltf_file_brings_what_it_refers_to(server: FaultServer, workspace: Workspace) -> None:
    github(
        server,
        {"chair/chair.gltf": gltf("buffer.bin", "textures/wood%20dark.png")},
        **{"chair/buffer.bin": tetrahedron(0)[0]},
    )
    server.serve(raw("chair/textures/wood%20dark.png"), b"picture")
    (row,) = built(server, workspace, **GITHUB).values()
    folder = row.location(workspace).parent
    assert row.path.startswith("scratch/assets/packages/")
    assert row.location(workspace).name == "asset.gltf"
    assert (folder / "buffer.bin").read_bytes() == tetrahedron(0)[0]
    assert (folder / "textures" / "wood dark.png").read_bytes() == b"picture"
    assert len(row.companions_sha256) == 64
    asked = len(server.seen)
    assert built(server, workspace, **GITHUB) == {row.title: row}
    assert len(server.seen) == asked


def test_an_obj_file_brings_materials_and_their_textures(server: FaultServer, workspace: Workspace) -> None:
    obj = b"mtllib my materials.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    materials = b"newmtl a\r\nKd 1 1 1\r\nmap_Kd -s 1 1 1 -clamp on maps\\wood.png\r\nbump -bm 0.5 maps/bump.png\r\n"
    github(server, {"x/chair.obj": obj}, **{"x/maps/wood.png": b"wood"})
    server.serve(raw("x/my%20materials.mtl"), materials)
    (row,) = built(server, workspace, **GITHUB).values()
    folder = row.location(workspace).parent
    assert (folder / "asset.obj").read_bytes() == obj
    assert (folder / "my materials.mtl").read_bytes() == materials
    assert (folder / "maps" / "wood.png").read_bytes() == b"wood"
    assert not (folder / "maps" / "bump.png").exists(), "the publisher has none"
    assert row.selected


def test_references_that_lead_elsewhere_are_not_followed(server: FaultServer, workspace: Workspace) -> None:
    github(
        server,
        {
            "a/up.gltf": gltf("../secret.bin"),
            "a/absolute.gltf": gltf("/etc/passwd"),
            "a/net.gltf": gltf(server.url("/elsewhere.bin")),
            "a/encoded.gltf": gltf("%2e%2e/secret.bin"),
            "a/inside.gltf": gltf("data:application/octet-stream;base64,AAAA"),
            "a/host.gltf": gltf("//host/secret.bin"),
        },
        **{"secret.bin": b"secret"},
    )
    rows = built(server, workspace, **GITHUB)
    assert all(row.selected and row.companions_sha256 == "" for row in rows.values())
    assert {seen.path for seen in server.seen} - {raw(f"a/{row.title}") for row in rows.values()} == {
        f"{XL_PATH}/github/github.parquet"
    }


def test_a_companion_that_fails_for_now_fails_its_object(server: FaultServer, workspace: Workspace) -> None:
    github(server, {"chair.gltf": gltf("buffer.bin"), "cup.glb": glb(1)}, **{"buffer.bin": tetrahedron(0)[0]})
    server.fail(raw("buffer.bin"), *[status(503)] * 9)
    rows = built(server, workspace, max_failure_rate=0.5, **GITHUB)
    assert rows["chair.gltf"].reason == "download: download"
    server.queues.clear()
    assert built(server, workspace, **GITHUB)["chair.gltf"].selected


def test_a_companion_under_lfs_is_its_content(server: FaultServer, workspace: Workspace) -> None:
    buffer = tetrahedron(0)[0]
    github(server, {"chair.gltf": gltf("buffer.bin")}, **{"buffer.bin": pointer(buffer)})
    server.serve(large("buffer.bin"), buffer)
    (row,) = built(server, workspace, **GITHUB).values()
    assert (row.location(workspace).parent / "buffer.bin").read_bytes() == buffer


def test_a_gltf_file_that_is_none_is_left_out(server: FaultServer, workspace: Workspace) -> None:
    document = {"images": [{"uri": f"{number}.png"} for number in range(2000)]}
    github(server, {"page.gltf": b"<html>", "list.gltf": b"[]", "many.gltf": json.dumps(document).encode()})
    rows = built(server, workspace, max_failure_rate=1.0, **GITHUB)
    assert {title: row.reason for title, row in rows.items()} == {
        "page.gltf": "download: parse",
        "list.gltf": "download: parse",
        "many.gltf": "download: unsafe",
    }
    assert len(server.asked(raw("0.png"))) == 0


def test_of_a_long_list_a_few_left_out_rows_are_kept(
    server: FaultServer, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is the same whatever the pieces, and all that is selected stays."""
    rows = [xl_row(page(f"{number}.blend"), b"", "blend") for number in range(200)]
    rows += [xl_row(page(f"{number}.glb"), glb(number), "glb") for number in range(30)]
    serve_xl(server, github=[*rows, rows[0], rows[-1]])
    for number in range(30):
        server.serve(raw(f"{number}.glb"), glb(number))
    values = {"objaverse_xl": {"origins": ["github"], "max_left_out": 40}, "selection": {"max_objects": 10}}
    whole = built(server, workspace, **values)
    assert len(whole) == 50
    assert sum(row.selected for row in whole.values()) == 10
    monkeypatch.setattr("catalog.remote._PIECE", 17)
    assert built(server, workspace, **values) == whole


def test_a_truncated_table_is_fetched_again(server: FaultServer, workspace: Workspace) -> None:
    github(server, {"cup.glb": glb(1)})
    table = f"{XL_PATH}/github/github.parquet"
    server.fail(table, instead(server.files[table].data[:-10]))
    assert built(server, workspace, **GITHUB)["cup.glb"].selected
